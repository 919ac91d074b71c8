package config

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
)

// property is one key and value of a properties file, with the line it began on.
type property struct {
	key, value string
	line       int
}

// parseProperties reads the syntax of java.util.Properties.load: comments with # or !, the separators =, : and blank,
// continuation lines, and escapes. Text is UTF-8 (Java's ISO 8859-1 is only kept for its \uXXXX escapes). Order is kept; a
// key that occurs twice is returned twice, and the last one counts.
func parseProperties(text string) ([]property, error) {
	var all []property
	text = strings.TrimPrefix(text, "\ufeff")
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text), "\n")
	for i := 0; i < len(lines); i++ {
		logical := strings.TrimLeft(lines[i], " \t\f")
		if logical == "" || logical[0] == '#' || logical[0] == '!' {
			continue
		}
		line := i + 1
		for continues(logical) && i+1 < len(lines) {
			i++
			logical = logical[:len(logical)-1] + strings.TrimLeft(lines[i], " \t\f")
		}
		if continues(logical) {
			logical = logical[:len(logical)-1]
		}
		rawKey, rawValue := splitProperty(logical)
		key, err := unescape(rawKey)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		value, err := unescape(rawValue)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		all = append(all, property{key, value, line})
	}
	return all, nil
}

// continues tells whether a line ends in an odd number of backslashes.
func continues(line string) bool {
	count := 0
	for i := len(line) - 1; i >= 0 && line[i] == '\\'; i-- {
		count++
	}
	return count%2 == 1
}

// splitProperty cuts a logical line behind its key: at the first =, : or blank that is not escaped; blanks around one = or :
// belong to the separator.
func splitProperty(line string) (key, value string) {
	end := len(line)
	for i := 0; i < len(line); i++ {
		if line[i] == '\\' {
			i++
			continue
		}
		if strings.IndexByte("=: \t\f", line[i]) >= 0 {
			end = i
			break
		}
	}
	rest := strings.TrimLeft(line[end:], " \t\f")
	if rest != "" && (rest[0] == '=' || rest[0] == ':') {
		rest = strings.TrimLeft(rest[1:], " \t\f")
	}
	return line[:end], rest
}

func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		i++
		if i == len(s) {
			break
		}
		switch s[i] {
		case 't':
			b.WriteByte('\t')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 'f':
			b.WriteByte('\f')
		case 'u':
			r, length, err := unicodeEscape(s[i-1:])
			if err != nil {
				return "", err
			}
			b.WriteRune(r)
			i += length - 2
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), nil
}

// unicodeEscape reads \uXXXX at the start of s, or two of them when they are a surrogate pair, and says how long it was.
func unicodeEscape(s string) (r rune, length int, err error) {
	first, ok := hex4(s)
	if !ok {
		return 0, 0, fmt.Errorf(`malformed \u escape in %q: four hexadecimal digits must follow`, s)
	}
	if utf16.IsSurrogate(first) {
		if second, ok := hex4(s[6:]); ok {
			if pair := utf16.DecodeRune(first, second); pair != '\ufffd' {
				return pair, 12, nil
			}
		}
	}
	return first, 6, nil
}

func hex4(s string) (rune, bool) {
	if len(s) < 6 || s[:2] != `\u` {
		return 0, false
	}
	n, err := strconv.ParseUint(s[2:6], 16, 16)
	return rune(n), err == nil
}

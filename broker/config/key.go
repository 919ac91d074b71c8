package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Type is the type of a value; the numbers are those of DescribeConfigs. Source: Kafka ConfigDef.Type.
type Type int8

// The types of Kafka's ConfigDef.
const (
	Boolean  Type = 1
	String   Type = 2
	Int      Type = 3
	Short    Type = 4
	Long     Type = 5
	Double   Type = 6
	List     Type = 7
	Class    Type = 8
	Password Type = 9
)

// Effect is what a key does here.
type Effect uint8

const (
	// Unsupported keys are Kafka's; Tandem does not act on them (yet). A value other than the default is warned of.
	Unsupported Effect = iota
	// Honoured keys do what Kafka's documentation says, or what Doc says for a key of ours.
	Honoured
	// Meaningless keys configure a part that Tandem does not have: ZooKeeper, KRaft, the JVM, thread pools.
	Meaningless
	// Refused keys change who may do what, so that starting without them would be unsafe: only the default is accepted.
	Refused
)

// Synonym is a broker key that gives a topic key its default; its value times Factor is in the topic key's unit.
type Synonym struct {
	Name   string
	Factor int64
}

// Key is one row of the table.
type Key struct {
	Name     string
	Type     Type
	Default  string   // as written in a properties file
	Null     bool     // there is no default
	Min, Max string   // inclusive; empty = the limits of the type
	OrElse   string   // the one value accepted outside [Min, Max]; empty = none
	OneOf    []string // the accepted values (of each element of a list); empty = any
	FoldCase bool     // OneOf is compared without regard to case
	Internal bool     // not shown to clients
	Dynamic  bool     // Kafka can change it without a restart
	Synonyms []Synonym
	Effect   Effect
	Doc      string
}

// Check says whether value is acceptable. The error says what would be, without naming the key.
func (k *Key) Check(value string) error {
	value = strings.TrimSpace(value)
	switch k.Type {
	case Boolean:
		if !strings.EqualFold(value, "true") && !strings.EqualFold(value, "false") {
			return fmt.Errorf("must be true or false")
		}
	case Short, Int, Long:
		return k.checkInteger(value)
	case Double:
		f, err := strconv.ParseFloat(value, 64)
		if err != nil || math.IsNaN(f) {
			return fmt.Errorf("must be a number%s", k.rangeText())
		}
		if (k.Min != "" && f < mustFloat(k.Min)) || (k.Max != "" && f > mustFloat(k.Max)) {
			return fmt.Errorf("must be a number%s", k.rangeText())
		}
	case List:
		for _, item := range SplitList(value) {
			if err := k.checkOneOf(item); err != nil {
				return err
			}
		}
	case String:
		return k.checkOneOf(value)
	}
	return nil
}

func (k *Key) checkInteger(value string) error {
	bits := map[Type]int{Short: 16, Int: 32, Long: 64}[k.Type]
	n, err := strconv.ParseInt(value, 10, bits)
	if err != nil {
		return fmt.Errorf("must be a whole number%s", k.rangeText())
	}
	if value == k.OrElse {
		return nil
	}
	if (k.Min != "" && n < mustInt(k.Min)) || (k.Max != "" && n > mustInt(k.Max)) {
		return fmt.Errorf("must be a whole number%s", k.rangeText())
	}
	return nil
}

func (k *Key) checkOneOf(value string) error {
	if len(k.OneOf) == 0 {
		return nil
	}
	for _, accepted := range k.OneOf {
		if value == accepted || k.FoldCase && strings.EqualFold(value, accepted) {
			return nil
		}
	}
	return fmt.Errorf("must be one of %s", strings.Join(k.OneOf, ", "))
}

// rangeText continues "must be a number": the limits of the key, else those of its type.
func (k *Key) rangeText() string {
	least, most := k.Min, k.Max
	switch k.Type {
	case Short:
		least, most = orElse(least, strconv.Itoa(math.MinInt16)), orElse(most, strconv.Itoa(math.MaxInt16))
	case Int:
		least, most = orElse(least, strconv.Itoa(math.MinInt32)), orElse(most, strconv.Itoa(math.MaxInt32))
	case Long:
		least, most = orElse(least, strconv.Itoa(math.MinInt64)), orElse(most, strconv.Itoa(math.MaxInt64))
	}
	var text string
	switch {
	case least != "" && most != "":
		text = fmt.Sprintf(" from %s to %s", least, most)
	case least != "":
		text = fmt.Sprintf(" of at least %s", least)
	case most != "":
		text = fmt.Sprintf(" of at most %s", most)
	}
	if k.OrElse != "" {
		text += ", or " + k.OrElse
	}
	return text
}

// SplitList splits the value of a List as Kafka does: at commas, blanks around them ignored; an empty value has no elements.
func SplitList(value string) []string {
	value = strings.TrimSpace(value)
	if value == "" {
		return nil
	}
	items := strings.Split(value, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items
}

// canonical is how Kafka shows a value that it has read: without blanks, elements of a list once. value must have been checked.
func (k *Key) canonical(value string) string {
	value = strings.TrimSpace(value)
	switch k.Type {
	case Boolean:
		return strings.ToLower(value)
	case List:
		var items []string
		for _, item := range SplitList(value) {
			if !slices.Contains(items, item) {
				items = append(items, item)
			}
		}
		return strings.Join(items, ",")
	case Double:
		if f, err := strconv.ParseFloat(value, 64); err == nil && math.Abs(f) < 1e7 && (f == 0 || math.Abs(f) >= 1e-3) {
			text := strconv.FormatFloat(f, 'f', -1, 64)
			if !strings.Contains(text, ".") {
				text += ".0"
			}
			return text
		}
	}
	return value
}

// sameValue tells whether two values mean the same to the key.
func (k *Key) sameValue(a, b string) bool {
	switch k.Type {
	case Boolean:
		return strings.EqualFold(strings.TrimSpace(a), strings.TrimSpace(b))
	case List:
		return slices.Equal(SplitList(a), SplitList(b))
	case Double:
		x, errX := strconv.ParseFloat(strings.TrimSpace(a), 64)
		y, errY := strconv.ParseFloat(strings.TrimSpace(b), 64)
		return errX == nil && errY == nil && x == y
	}
	return strings.TrimSpace(a) == strings.TrimSpace(b)
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func mustInt(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		panic("config: limit in the key table: " + err.Error())
	}
	return n
}

func mustFloat(s string) float64 {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		panic("config: limit in the key table: " + err.Error())
	}
	return f
}

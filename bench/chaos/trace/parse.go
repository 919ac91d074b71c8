//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// call is one system call as strace saw it.
type call struct {
	pid     int
	name    string
	args    []string // as strace writes them; strings are "\x.." of every byte
	entry   int      // line on which it began
	exit    int      // line on which it ended; 0 = never, the process was killed in it
	ret     int64
	failed  bool // ended with an error, or was interrupted before it did anything
	killed  bool // nobody was told how it ended
	entryAt int64
}

// event is the beginning or the end of a call, in the order in which strace handled them: while it handles one, the thread
// that made it stands still. So whatever a thread did because a call had ended comes behind the end of the call.
type event struct {
	*call
	end  bool
	line int   // rises over all traces of a run
	next int64 // time of the next line, ns since 1970: nothing outside the process that is older can follow from a later call
}

var errTruncatedString = errors.New("strace has cut a string: raise its -s")

// readTrace parses a file that strace -f wrote with the options of straceArgs. Lines are numbered from first on.
func readTrace(name string, first int) ([]event, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<20)
	var events []event
	open := map[int]*call{} // unfinished, by thread
	for line := first; ; line++ {
		text, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(text) == 0 {
			break
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		at, parsed, err := parseLine(string(bytes.TrimSpace(text)), line, open)
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", name, line-first+1, err)
		}
		for i := len(events) - 1; i >= 0 && events[i].next == 0; i-- {
			events[i].next = at
		}
		events = append(events, parsed...)
	}
	if len(events) == 0 {
		return nil, fmt.Errorf("%s: no system call", name)
	}
	for i := len(events) - 1; i >= 0 && events[i].next == 0; i-- {
		events[i].next = events[i].entryAt // nothing later is known
	}
	return events, nil
}

// parseLine takes `pid seconds.nanoseconds call(...) = ret`, with the two forms for a call that another thread's interrupted.
func parseLine(text string, line int, open map[int]*call) (at int64, events []event, err error) {
	pidText, rest, ok := strings.Cut(text, " ")
	atText, rest, ok2 := strings.Cut(strings.TrimLeft(rest, " "), " ")
	pid, err := strconv.Atoi(pidText)
	if err != nil || !ok || !ok2 {
		return 0, nil, fmt.Errorf("not a line of strace: %.80q", text)
	}
	seconds, nanoseconds, _ := strings.Cut(atText, ".")
	at, err = strconv.ParseInt(seconds+nanoseconds, 10, 64)
	if err != nil || len(nanoseconds) != 9 {
		return 0, nil, fmt.Errorf("not a time: %.80q", atText)
	}
	if r, ok := strings.CutSuffix(rest, " <detached ...>"); ok { // it was killed in a call
		rest = r + " <unfinished ...>"
	}
	switch {
	case strings.HasPrefix(rest, "+++"), strings.HasPrefix(rest, "---"): // an exit, a signal
		return at, nil, nil
	case strings.HasPrefix(rest, "<..."):
		c := open[pid]
		_, rest, ok = strings.Cut(rest, " resumed>")
		if strings.HasSuffix(rest, "<unfinished ...>") {
			return at, nil, nil
		}
		if c == nil || !ok {
			return 0, nil, fmt.Errorf("the end of a call that did not begin: %.80q", rest)
		}
		delete(open, pid)
		c.exit = line
		return at, []event{{call: c, end: true, line: line}}, c.end(rest)
	}
	name, rest, ok := strings.Cut(rest, "(")
	if !ok {
		return 0, nil, fmt.Errorf("not a call: %.80q", rest)
	}
	c := &call{pid: pid, name: name, entry: line, entryAt: at}
	begin := event{call: c, line: line}
	if args, ok := strings.CutSuffix(rest, " <unfinished ...>"); ok {
		open[pid] = c
		c.args, err = splitArgs(args)
		return at, []event{begin}, err
	}
	c.exit = line
	return at, []event{begin, {call: c, end: true, line: line}}, c.end(rest)
}

// end takes what stands behind the arguments that are known, up to the result.
func (c *call) end(rest string) error {
	i := strings.LastIndex(rest, ") ")
	if i < 0 {
		return fmt.Errorf("no result: %.80q", rest)
	}
	result, ok := strings.CutPrefix(strings.TrimLeft(rest[i+2:], " "), "= ")
	for !ok { // "= -1 ENOENT (No such file or directory)" has a parenthesis of its own
		if i = strings.LastIndex(rest[:i], ") "); i < 0 {
			if i = strings.LastIndex(rest, ") = "); i < 0 {
				return fmt.Errorf("no result: %.80q", rest)
			}
		}
		result, ok = strings.CutPrefix(strings.TrimLeft(rest[i+2:], " "), "= ")
	}
	more, err := splitArgs(rest[:i])
	if err != nil {
		return err
	}
	c.args = append(c.args, more...)
	word, _, _ := strings.Cut(result, " ")
	if word == "?" { // with ERESTART..., it did nothing and begins anew; else the process was killed in it
		c.failed, c.killed = true, !strings.Contains(result, "ERESTART")
		return nil
	}
	c.ret, err = strconv.ParseInt(word, 0, 64)
	if err != nil && !strings.HasPrefix(word, "0x") { // an address
		return fmt.Errorf("result %.40q: %w", word, err)
	}
	c.failed, c.killed = c.ret < 0, strings.Contains(result, "(errno ") // no error that strace knows: the process was being killed
	return nil
}

// splitArgs cuts at the commas outside of strings and brackets.
func splitArgs(text string) ([]string, error) {
	var args []string
	depth, from, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch b := text[i]; {
		case b == '"':
			quoted = !quoted
			if !quoted && strings.HasPrefix(text[i+1:], "...") {
				return nil, errTruncatedString
			}
		case quoted:
		case b == '(' || b == '[' || b == '{':
			depth++
		case b == ')' || b == ']' || b == '}':
			depth--
		case b == ',' && depth == 0:
			args = append(args, strings.TrimSpace(text[from:i]))
			from = i + 1
		}
	}
	if last := strings.TrimSpace(text[from:]); last != "" {
		args = append(args, last)
	}
	return args, nil
}

// arg is the i-th argument, "" when there is none.
func (c *call) arg(i int) string {
	if i >= len(c.args) {
		return ""
	}
	return c.args[i]
}

func (c *call) number(i int) (int64, error) {
	n, err := strconv.ParseInt(c.arg(i), 0, 64)
	if err != nil {
		return 0, fmt.Errorf("%s, argument %d: %w", c.name, i, err)
	}
	return n, nil
}

// fd is a file descriptor, or -1 for AT_FDCWD and what is none.
func (c *call) fd(i int) int {
	n, err := strconv.Atoi(c.arg(i))
	if err != nil {
		return -1
	}
	return n
}

// text is a string argument, all bytes of it.
func (c *call) text(i int) ([]byte, error) {
	s := c.arg(i)
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return nil, fmt.Errorf("%s, argument %d is no string: %.40q", c.name, i, s)
	}
	b := bytes.ReplaceAll([]byte(s[1:len(s)-1]), []byte(`\x`), nil)
	n, err := hex.Decode(b, b)
	return b[:n], err
}

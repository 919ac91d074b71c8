//go:build linux

package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// system follows the processes of one trace and what they do to a disk.
type system struct {
	disk      *disk
	root      string // real path of the disk's root
	tables    map[int]table
	parents   map[int]*call // the call that made a thread or process
	writes    map[*call]*node
	unsettled map[*call]bool
}

// table is the file descriptors of a process that are files or folders of the disk; others are not in it.
type table map[int]*descriptor

type descriptor struct {
	node   *node
	pos    int64
	append bool
}

func newSystem(d *disk, root string, events []event) *system {
	s := &system{disk: d, root: root, tables: map[int]table{}, parents: map[int]*call{}, writes: map[*call]*node{}, unsettled: map[*call]bool{}}
	for _, e := range events {
		if e.end && !e.failed && slices.Contains([]string{"clone", "clone3", "fork", "vfork"}, e.name) {
			s.parents[int(e.ret)] = e.call
		}
	}
	return s
}

// follow has a disk do what a trace says, and calls operation behind each call that changes it. What the processes were doing
// when they ended is told by the disk that they left behind, of which real is a copy; "" = it does
// not matter.
func follow(d *disk, root, real string, events []event, operation func(*disk, event) error) error {
	s := newSystem(d, root, events)
	for _, e := range events {
		changed, err := s.take(e)
		if err == nil && changed {
			err = operation(d, e)
		}
		if err != nil {
			return fmt.Errorf("line %d, %s: %w", e.line, e.name, err)
		}
	}
	return s.killed(events[len(events)-1].line+1, real)
}

// table finds the descriptors of a thread. One that is seen for the first time shares those of its parent or has a copy.
func (s *system) table(pid int) table {
	if t := s.tables[pid]; t != nil {
		return t
	}
	t := table{}
	if parent := s.parents[pid]; parent != nil {
		if theirs := s.table(parent.pid); strings.Contains(strings.Join(parent.args, ","), "CLONE_FILES") {
			t = theirs
		}
		// A process that execs keeps nothing of ours: Go opens everything with O_CLOEXEC.
	}
	s.tables[pid] = t
	return t
}

// take follows one event. changed tells whether the disk is another one, or holds more that is durable, than before.
func (s *system) take(e event) (changed bool, err error) {
	t := s.table(e.pid)
	if !e.end {
		return false, s.begin(t, e.call)
	}
	if e.killed {
		return false, nil
	}
	delete(s.unsettled, e.call)
	if n := s.writes[e.call]; n != nil {
		delete(s.writes, e.call)
		n.settle(e.call, e.line, max(e.ret, 0))
		return !e.failed, nil
	}
	if e.failed {
		return false, nil
	}
	return s.end(t, e.call, e.line)
}

// begin follows what takes effect, or may, before the call has ended.
func (s *system) begin(t table, c *call) error {
	switch c.name {
	case "close":
		delete(t, c.fd(0))
	case "write", "pwrite64":
		d := t[c.fd(0)]
		if d == nil {
			return nil
		}
		data, err := c.text(1)
		if err != nil {
			return err
		}
		pos := d.pos
		switch {
		case c.name == "pwrite64":
			if pos, err = c.number(3); err != nil {
				return err
			}
		case d.append:
			pos = int64(len(d.node.content))
		}
		if c.name == "write" {
			d.pos = pos + int64(len(data))
		}
		d.node.change(change{call: c, ended: math.MaxInt, pos: pos, data: data})
		s.writes[c] = d.node
	default:
		s.unsettled[c] = true
	}
	return nil
}

// end follows a call that has succeeded.
func (s *system) end(t table, c *call, line int) (changed bool, err error) {
	d := t[c.fd(0)]
	switch c.name {
	case "openat":
		return s.open(t, c, line)
	case "lseek":
		if d != nil {
			d.pos = c.ret
		}
	case "dup", "dup2", "dup3", "fcntl":
		if d != nil && (c.name != "fcntl" || strings.HasPrefix(c.arg(1), "F_DUPFD")) {
			t[int(c.ret)] = d
		}
	case "fsync", "fdatasync":
		if d != nil {
			s.disk.sync(d.node, c.entry)
			return true, nil
		}
	case "ftruncate":
		if d != nil {
			size, err := c.number(1)
			d.node.change(change{call: c, ended: line, pos: size, truncate: true})
			return true, err
		}
	case "fallocate":
		return d != nil, s.fallocate(d, c, line)
	case "mkdirat", "mkdir", "unlinkat", "unlink", "rmdir", "renameat", "renameat2", "rename":
		return s.rename(t, c, line)
	case "mmap":
		if t[c.fd(4)] != nil && strings.Contains(c.arg(2), "PROT_WRITE") && strings.Contains(c.arg(3), "MAP_SHARED") {
			return false, errors.New("a file is written through a mapping, which a trace does not show")
		}
	case "clone", "clone3", "fork", "vfork", "execve", "close":
	default:
		if d != nil || t[c.fd(2)] != nil && (c.name == "copy_file_range" || c.name == "splice") {
			return false, fmt.Errorf("%s on a file of the data directory is not modelled", c.name)
		}
		if slices.ContainsFunc(c.args, func(arg string) bool { return strings.Contains(arg, s.root) }) {
			return false, fmt.Errorf("%s in the data directory is not modelled", c.name)
		}
	}
	return false, nil
}

func (s *system) fallocate(d *descriptor, c *call, line int) error {
	if d == nil {
		return nil
	}
	pos, err := c.number(2)
	length, err2 := c.number(3)
	if c.arg(1) != "0" {
		err = fmt.Errorf("fallocate with mode %s is not modelled", c.arg(1))
	}
	if end := pos + length; end > int64(len(d.node.content)) {
		d.node.change(change{call: c, ended: line, pos: end, truncate: true})
	}
	return errors.Join(err, err2)
}

// locate finds the folder and the last name of a path argument; nil when it lies outside of the disk.
func (s *system) locate(t table, dirFD int, c *call, i int) (dir *node, base string, err error) {
	text, err := c.text(i)
	if err != nil {
		return nil, "", err
	}
	p := path.Clean(string(text))
	from := s.disk.root
	switch {
	case path.IsAbs(p):
		inside, ok := strings.CutPrefix(p, s.root+"/")
		if !ok {
			return nil, "", nil
		}
		p = inside
	case t[dirFD] != nil:
		from = t[dirFD].node
	default:
		return nil, "", nil
	}
	folder, base := path.Split(p)
	if dir = from.find(folder); dir == nil || !dir.dir {
		return nil, "", fmt.Errorf("%s: the folder of %s is not there by the trace", c.name, p)
	}
	return dir, base, nil
}

func (s *system) open(t table, c *call, line int) (changed bool, err error) {
	delete(t, int(c.ret))
	if text, err := c.text(1); err == nil && string(text) == s.root {
		t[int(c.ret)] = &descriptor{node: s.disk.root}
		return false, nil
	}
	dir, base, err := s.locate(t, c.fd(0), c, 1)
	if dir == nil || err != nil {
		return false, err
	}
	flags := strings.Split(c.arg(2), "|")
	n := dir.entries[base]
	if base == "." {
		n = dir
	}
	switch {
	case n == nil && slices.Contains(flags, "O_CREAT"):
		n = &node{}
		s.disk.name(c, line, dir, name{base, n})
		changed = true
	case n == nil:
		return false, fmt.Errorf("openat finds %s, which is not there by the trace", base)
	case slices.Contains(flags, "O_TRUNC") && len(n.content) > 0:
		n.change(change{call: c, ended: line, truncate: true})
		changed = true
	}
	t[int(c.ret)] = &descriptor{node: n, append: slices.Contains(flags, "O_APPEND")}
	return changed, nil
}

// rename follows all that changes names, but for open.
func (s *system) rename(t table, c *call, line int) (changed bool, err error) {
	fd, at := -1, 0
	if strings.Contains(c.name, "at") {
		fd, at = c.fd(0), 1
	}
	dir, base, err := s.locate(t, fd, c, at)
	if err != nil {
		return false, err
	}
	if !strings.HasPrefix(c.name, "rename") {
		if dir == nil {
			return false, nil
		}
		var n *node
		if strings.HasPrefix(c.name, "mkdir") {
			n = newFolder()
		}
		s.disk.name(c, line, dir, name{base, n})
		return true, nil
	}
	toFD, toAt := -1, 1
	if at == 1 {
		toFD, toAt = c.fd(2), 3
	}
	to, toBase, err := s.locate(t, toFD, c, toAt)
	switch {
	case err != nil || dir == nil && to == nil:
		return false, err
	case dir != to || c.name == "renameat2" && c.arg(4) != "0":
		return false, errors.New("a rename between folders, or with flags, is not modelled")
	}
	s.disk.name(c, line, dir, name{base, nil}, name{toBase, dir.entries[base]})
	return true, nil
}

// killed settles what the processes were doing when they ended, by a copy of the disk that they left behind.
func (s *system) killed(line int, real string) error {
	if real == "" {
		return nil
	}
	for c := range s.unsettled {
		fd, at := -1, 0
		if strings.Contains(c.name, "at") && c.name != "ftruncate" && c.name != "fallocate" {
			fd, at = c.fd(0), 1
		}
		switch {
		case strings.HasPrefix(c.name, "unlink"), strings.HasPrefix(c.name, "rename"), c.name == "rmdir", strings.HasPrefix(c.name, "mkdir"):
		case c.name == "openat" && strings.Contains(c.arg(2), "O_CREAT"):
		default:
			continue // a sync that nobody was told of, or a truncation: compare tells
		}
		dir, base, err := s.locate(s.table(c.pid), fd, c, at)
		if err != nil || dir == nil {
			continue
		}
		_, err = os.Lstat(filepath.Join(real, s.pathOf(dir), base))
		there, was := err == nil, dir.entries[base] != nil
		switch {
		case there == was:
		case c.name == "openat":
			s.disk.name(c, line, dir, name{base, &node{}})
		default:
			if _, err := s.rename(s.table(c.pid), c, line); err != nil {
				return err
			}
		}
	}
	return s.disk.settleKilled(real)
}

func (s *system) pathOf(n *node) string {
	var find func(at *node, p string) string
	find = func(at *node, p string) string {
		if at == n {
			return p
		}
		for base, child := range at.entries {
			if child.dir {
				if found := find(child, path.Join(p, base)); found != "" {
					return found
				}
			}
		}
		return ""
	}
	return find(s.disk.root, "/")
}

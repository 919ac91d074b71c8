//go:build linux

package main

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// node is a file or a folder. What is durable and what the processes see are both kept; between them lie the changes that a
// power loss may take.
type node struct {
	dir     bool
	entries map[string]*node // of a folder, as the processes see it
	durable struct {
		entries map[string]*node
		content []byte // never changed in place
	}
	content []byte   // of a file, as the processes see it
	pending []change // not durable yet, in order
}

// change is a write or a truncation that is not durable yet.
type change struct {
	call     *call
	ended    int // line; math.MaxInt = not yet
	pos      int64
	data     []byte // nil = a change of the size to pos
	truncate bool
}

// naming is a change of one folder that is not durable yet: names that come (or go, when the node is nil), all or none of them.
type naming struct {
	call *call
	line int
	dir  *node
	set  []name
}

type name struct {
	name string
	node *node
}

// disk is the file system below one folder.
type disk struct {
	root    *node
	namings []naming // of all folders, in order
}

func newFolder() *node {
	n := &node{dir: true, entries: map[string]*node{}}
	n.durable.entries = map[string]*node{}
	return n
}

func newDisk() *disk { return &disk{root: newFolder()} }

// diskOf is a disk on which files are, all of them durable.
func diskOf(files []file) *disk {
	d := newDisk()
	for _, f := range files {
		if f.path == "" {
			continue
		}
		n := &node{content: bytes.Clone(f.content)}
		n.durable.content = f.content
		if f.dir {
			n = newFolder()
		}
		folder, base := filepath.Split(f.path)
		dir := d.root.find(folder)
		dir.entries[base], dir.durable.entries[base] = n, n
	}
	return d
}

// clone is a disk whose processes have ended: what they had begun to write is in the page cache, and a sync by their successors,
// whose lines are counted from 1, makes it durable.
func (d *disk) clone() *disk {
	copies := map[*node]*node{}
	var clone func(n *node) *node
	cloneAll := func(entries map[string]*node) map[string]*node {
		all := map[string]*node{}
		for name, n := range entries {
			all[name] = clone(n)
		}
		return all
	}
	clone = func(n *node) *node {
		if n == nil || copies[n] != nil {
			return copies[n]
		}
		c := &node{dir: n.dir, content: bytes.Clone(n.content), pending: slices.Clone(n.pending)}
		copies[n] = c
		for i := range c.pending {
			c.pending[i].ended = 0
		}
		c.durable.content = n.durable.content
		if n.dir {
			c.entries, c.durable.entries = cloneAll(n.entries), cloneAll(n.durable.entries)
		}
		return c
	}
	c := &disk{root: clone(d.root)}
	for _, m := range d.namings {
		set := make([]name, len(m.set))
		for i, s := range m.set {
			set[i] = name{s.name, clone(s.node)}
		}
		c.namings = append(c.namings, naming{m.call, 0, clone(m.dir), set})
	}
	return c
}

// find walks from n along a slash-separated path.
func (n *node) find(path string) *node {
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." {
			continue
		}
		if n == nil || !n.dir {
			return nil
		}
		n = n.entries[part]
	}
	return n
}

// name changes names in a folder.
func (d *disk) name(c *call, line int, dir *node, set ...name) {
	for _, s := range set {
		if s.node == nil {
			delete(dir.entries, s.name)
		} else {
			dir.entries[s.name] = s.node
		}
	}
	d.namings = append(d.namings, naming{c, line, dir, set})
}

func apply(content []byte, c *change) []byte {
	end := c.pos + int64(len(c.data))
	if c.truncate && int64(len(content)) > c.pos {
		return content[:c.pos]
	}
	if grow := end - int64(len(content)); grow > 0 {
		content = append(content, make([]byte, grow)...)
	}
	copy(content[c.pos:], c.data)
	return content
}

func (n *node) change(c change) {
	n.pending = append(n.pending, c)
	n.content = apply(n.content, &c)
}

// settle tells what became of a change that was entered when its call began: written bytes of it were written, 0 = none.
func (n *node) settle(c *call, ended int, written int64) {
	i := slices.IndexFunc(n.pending, func(p change) bool { return p.call == c })
	if i < 0 {
		return
	}
	n.pending[i].ended = ended
	if written == int64(len(n.pending[i].data)) {
		return
	}
	if n.pending[i].data = n.pending[i].data[:written]; written == 0 {
		n.pending = slices.Delete(n.pending, i, i+1)
	}
	n.content = bytes.Clone(n.durable.content)
	for j := range n.pending {
		n.content = apply(n.content, &n.pending[j])
	}
}

// sync makes durable what had ended when a sync began.
func (d *disk) sync(n *node, began int) {
	if n.dir {
		d.namings = slices.DeleteFunc(d.namings, func(m naming) bool {
			if m.dir != n || m.line >= began {
				return false
			}
			for _, s := range m.set {
				if s.node == nil {
					delete(n.durable.entries, s.name)
				} else {
					n.durable.entries[s.name] = s.node
				}
			}
			return true
		})
		return
	}
	if len(n.pending) == 0 {
		return
	}
	content := bytes.Clone(n.durable.content)
	n.pending = slices.DeleteFunc(n.pending, func(c change) bool {
		if c.ended >= began {
			return false
		}
		content = apply(content, &c)
		return true
	})
	n.durable.content = content
}

// settleKilled decides about the changes whose calls never ended, by what is on the real disk below dir.
func (d *disk) settleKilled(dir string) error {
	return d.walk(d.root, dir, func(n *node, path string) error {
		for _, c := range slices.Clone(n.pending) {
			if c.ended != math.MaxInt {
				continue
			}
			real, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			written := 0 // a write is cut short at the edge of a page
			for at := int(c.pos); written < len(c.data) && at+written < len(real) && real[at+written] == c.data[written]; {
				written++
			}
			n.settle(c.call, c.call.entry, int64(written))
		}
		return nil
	})
}

func (d *disk) walk(n *node, path string, visit func(n *node, path string) error) error {
	if !n.dir {
		return visit(n, path)
	}
	for _, name := range slices.Sorted(maps.Keys(n.entries)) {
		if err := d.walk(n.entries[name], filepath.Join(path, name), visit); err != nil {
			return err
		}
	}
	return nil
}

// compare holds what the processes should see against what is below dir: it fails when the trace is not complete.
func (d *disk) compare(dir string) error { return compareNode(d.root, dir) }

func compareNode(n *node, path string) error {
	if !n.dir {
		real, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !bytes.Equal(real, n.content) {
			at := 0
			for at < min(len(real), len(n.content)) && real[at] == n.content[at] {
				at++
			}
			return fmt.Errorf("%s has %d bytes, by the trace %d; they differ at byte %d", path, len(real), len(n.content), at)
		}
		return nil
	}
	list, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range list {
		if n.entries[e.Name()] == nil {
			return fmt.Errorf("%s is there, but not by the trace", filepath.Join(path, e.Name()))
		}
	}
	for name, child := range n.entries {
		if err := compareNode(child, filepath.Join(path, name)); err != nil {
			return err
		}
	}
	return nil
}

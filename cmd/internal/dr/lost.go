package dr

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tandembroker/tandem/broker/sites/operator"
)

func (c *command) lostList(ctx context.Context) error {
	var l operator.LostList
	if err := c.client.ask(ctx, operator.OpLostList, nil, &l); err != nil {
		return err
	}
	return c.show(l, func() {
		if len(l.Archives) == 0 {
			c.say("No records were lost.")
		} else {
			c.table("ARCHIVE\tSITE\tOFFSETS\tRECORDS\tBYTES\tARCHIVED\tDAMAGE", len(l.Archives), func(i int) string {
				a := &l.Archives[i]
				return columns(a.ID, a.Site, fmt.Sprintf("%d-%d", a.FirstOffset, a.LastOffset), a.Records, a.Bytes, clock(&a.Archived), a.Damage)
			})
		}
		if l.Missing != "" {
			c.say("incomplete: %s", l.Missing)
		}
	})
}

// chosen are the archives that the arguments name; all without any. An archive that cannot be reached is a failure: who reads what was lost
// must not take a part for all.
func (c *command) chosen(ctx context.Context) ([]operator.LostArchive, error) {
	var l operator.LostList
	if err := c.client.ask(ctx, operator.OpLostList, nil, &l); err != nil {
		return nil, err
	}
	if len(c.args) == 0 {
		if l.Missing != "" {
			return nil, &operator.Error{Code: operator.CodeFailed, Text: "not all archives can be read: " + l.Missing, Next: "name those that you want: tandem dr lost list"}
		}
		return l.Archives, nil
	}
	var found []operator.LostArchive
	for _, id := range c.args {
		i := slices.IndexFunc(l.Archives, func(a operator.LostArchive) bool { return a.ID == id })
		if i < 0 {
			return nil, &operator.Error{Code: operator.CodeUsage, Text: fmt.Sprintf("no archive %q", id), Next: "tandem dr lost list"}
		}
		found = append(found, l.Archives[i])
	}
	return found, nil
}

// lines hands out an archive line by line, from an offset on. What is damaged does not hide the rest, and is the error at the end.
func (c *command) lines(ctx context.Context, a *operator.LostArchive, from int64, fn func(line []byte) error) error {
	at := &operator.LostPlace{Site: a.Site, Node: a.Node, ID: a.ID, Offset: from}
	var rest []byte
	damage := ""
	for at != nil {
		var page operator.LostPage
		if err := c.client.ask(ctx, operator.OpLostShow, at, &page); err != nil {
			return err
		}
		if page.Next != nil && len(page.Lines) == 0 && *page.Next == *at {
			return &operator.Error{Code: operator.CodeFailed, Text: fmt.Sprintf("archive %s: the broker does not get on at offset %d", a.ID, at.Offset)}
		}
		rest = append(rest, page.Lines...)
		for {
			line, after, whole := bytes.Cut(rest, []byte("\n"))
			if !whole {
				break
			}
			if err := fn(line); err != nil {
				return err
			}
			rest = after
		}
		rest = slices.Clone(rest)
		at, damage = page.Next, page.Damage
	}
	if len(rest) > 0 {
		damage = "it ends within a record"
	}
	if damage != "" {
		return &operator.Error{Code: operator.CodeFailed, Text: fmt.Sprintf("archive %s is damaged, and what could be read was: %s", a.ID, damage)}
	}
	return nil
}

func (c *command) lostShow(ctx context.Context) error {
	all, err := c.chosen(ctx)
	if err != nil {
		return err
	}
	var damaged error
	for i := range all {
		err := c.lines(ctx, &all[i], 0, func(line []byte) error {
			if c.json {
				_, err := fmt.Fprintf(c.Out, "%s\n", line)
				return err
			}
			return c.printRecord(line)
		})
		if told := (*operator.Error)(nil); err != nil && !errors.As(err, &told) {
			return err
		}
		damaged = errors.Join(damaged, err)
	}
	return damaged
}

func (c *command) printRecord(line []byte) error {
	var r operator.LostRecord
	if err := json.Unmarshal(line, &r); err != nil {
		return fmt.Errorf("read a record: %w", err)
	}
	note := ""
	if r.Transaction != "none" {
		note = "  transaction: " + r.Transaction
	}
	at := time.UnixMilli(r.Timestamp)
	c.say("%s-%d  offset %d  %s  %s = %s%s", r.Topic, r.Partition, r.Offset, clock(&at), short(r.Key), short(r.Value), note)
	return nil
}

// short shows bytes on a line.
func short(b []byte) string {
	const most = 60
	switch {
	case b == nil:
		return "null"
	case len(b) > most:
		return strconv.Quote(string(b[:most])) + fmt.Sprintf("... (%d bytes)", len(b))
	}
	return strconv.Quote(string(b))
}

func (c *command) lostRemove(ctx context.Context) error {
	all, err := c.chosen(ctx)
	if err != nil {
		return err
	}
	a := all[0]
	if err := c.confirm(fmt.Sprintf("Delete archive %s with %d records for good?", a.ID, a.Records)); err != nil {
		return err
	}
	if err := c.client.ask(ctx, operator.OpLostRemove, operator.LostPlace{Site: a.Site, Node: a.Node, ID: a.ID}, nil); err != nil {
		return err
	}
	return c.show(map[string]string{"removed": a.ID}, func() { c.say("Archive %s is deleted.", a.ID) })
}

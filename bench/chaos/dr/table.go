package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// sameRecords compares all that a site serves with what the checks have found over the run.
func (s *suite) sameRecords(at *site, records []*kgo.Record) error {
	count := 0
	for _, r := range records {
		number, err := s.histories[r.Partition].number(r.Key)
		if err != nil {
			return err
		}
		if was, ok := s.found[r.Partition].log[r.Offset]; !ok || was != number {
			return fmt.Errorf("%s: partition %d: offset %d holds number %d; a check has read %d (there: %v)", at.name, r.Partition, r.Offset, number, was, ok)
		}
		count++
	}
	all := 0
	for _, f := range s.found {
		all += len(f.log)
	}
	if count != all {
		return fmt.Errorf("%s serves %d records, %d were read over the run", at.name, count, all)
	}
	return nil
}

// pauseMax is the longest median of the pauses that producers may see. Single ones may be longer: the machine stands still now and then.
const pauseMax = 5 * time.Second

// table prints what was measured. Its error names the pauses that were too long.
func (s *suite) table() error {
	var switchover, failover, held, green, group, lost, moved []int64
	failures, acked := 0, 0
	for _, r := range s.done {
		f := r.figures
		if r.kind.failure {
			failures++
		}
		acked += f.acked
		switchover = add(switchover, int64(f.switchover/time.Millisecond), f.switchover >= 0)
		failover = add(failover, int64(f.failover/time.Millisecond), f.failover >= 0)
		held = add(held, int64(f.held/time.Millisecond), f.held > 0)
		green = add(green, int64(f.green/time.Millisecond), true)
		group = add(group, int64(f.group/time.Millisecond), true)
		lost = add(lost, int64(f.lost), f.failover >= 0)
		moved = add(moved, f.moved, f.moved >= 0)
	}
	fmt.Printf("\n%d switchovers, %d failures, %d records acknowledged, all in one place\n", len(s.done)-failures, failures, acked)
	fmt.Printf("%-44s %6s %12s %12s %12s\n", "", "count", "median", "90 %", "most")
	row("switchover pause, ms", switchover)
	row("failover pause, from the order, ms", failover)
	row("failover refused, silence unnoticed, ms", held)
	row("green after the last fault, ms", green)
	row("group has got everything, then, ms", group)
	row("records lost in a failover, all archived", lost)
	row("bytes moved on return, until both were equal", moved)
	s.load.mu.Lock()
	defer s.load.mu.Unlock()
	fmt.Printf("group members were sent back %d times", s.load.mu.dataLoss)
	for text, count := range s.load.mu.oddities {
		fmt.Printf("; %d times %q", count, text)
	}
	fmt.Println()
	return errors.Join(short("switchover", switchover), short("failover", failover))
}

func short(name string, pauses []int64) error {
	if len(pauses) > 0 && percentile(pauses, 50) > pauseMax.Milliseconds() {
		return fmt.Errorf("half of the pauses of a %s took %d ms or more; %s may be", name, percentile(pauses, 50), pauseMax)
	}
	return nil
}

func add(values []int64, v int64, measured bool) []int64 {
	if !measured {
		return values
	}
	return append(values, v)
}

func row(name string, values []int64) {
	if len(values) == 0 {
		fmt.Printf("%-44s %6d\n", name, 0)
		return
	}
	fmt.Printf("%-44s %6d %12d %12d %12d\n", name, len(values), percentile(values, 50), percentile(values, 90), percentile(values, 100))
}

// percentile sorts values.
func percentile(values []int64, percent int) int64 {
	slices.Sort(values)
	return values[(len(values)-1)*percent/100]
}

func span(d time.Duration) string {
	if d < 0 {
		return "    - "
	}
	return fmt.Sprintf("%5.2fs", d.Seconds())
}

func size(bytes int64) string {
	if bytes < 0 {
		return "     -  "
	}
	return fmt.Sprintf("%5d KB", bytes/1000)
}

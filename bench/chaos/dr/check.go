package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	readLimit  = time.Minute
	equalLimit = 20 * time.Second
	groupLimit = 30 * time.Second
)

// found is what the checks have read so far of one partition, at the active site.
type found struct {
	next     int64         // everything below was read
	log      map[int64]int // offset -> number
	numbers  map[int]int64 // number -> offset
	archived map[int64]int
	highest  int // number
}

// check compares what clients were told with what is there: both sites are up and linked, and the load goes on.
func (s *suite) check(ctx context.Context, r *round) error {
	pending := make([]map[int64]ack, len(s.histories))
	for i, h := range s.histories {
		h.mu.Lock()
		pending[i] = make(map[int64]ack, len(h.mu.pending))
		for offset, a := range h.mu.pending {
			pending[i][offset] = a
		}
		h.mu.Unlock()
	}
	active := s.active
	ends, err := s.readNew(ctx, active)
	if err != nil {
		return err
	}
	if err := s.readArchives(ctx, active); err != nil {
		return err
	}
	for i, h := range s.histories {
		r.figures.acked += len(pending[i])
		lost, err := s.settle(h, s.found[i], pending[i], len(r.reports) > 1)
		if err != nil {
			return err
		}
		r.figures.lost += len(lost)
		if err := r.asReported(h.partition, lost); err != nil {
			return err
		}
	}
	same := s.sameBytes(ctx, ends)
	r.equalAt = s.pair.moved()
	began := time.Now()
	group := s.groupSkipsNothing(ctx, ends)
	r.figures.group = time.Since(began)
	return errors.Join(same, group, s.commitsAreWithin(ctx, active), s.faults())
}

// faults are what the histories have noted.
func (s *suite) faults() error {
	var errs []error
	for _, h := range s.histories {
		h.mu.Lock()
		errs = append(errs, h.mu.errs[:min(len(h.mu.errs), 5)]...)
		h.mu.Unlock()
	}
	return errors.Join(errs...)
}

// readNew reads what came since the last check, up to the ends of now, which it returns.
func (s *suite) readNew(ctx context.Context, at *site) ([]int64, error) {
	from := make([]int64, len(s.found))
	for i, f := range s.found {
		from[i] = f.next
	}
	records, ends, err := s.read(ctx, at, from, "")
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		h, f := s.histories[r.Partition], s.found[r.Partition]
		number, err := h.number(r.Key)
		if err != nil {
			return nil, err
		}
		if at, again := f.numbers[number]; again {
			return nil, fmt.Errorf("partition %d: number %d is at offset %d and again at %d", r.Partition, number, at, r.Offset)
		}
		if number <= f.highest {
			return nil, fmt.Errorf("partition %d: offset %d holds number %d behind number %d", r.Partition, r.Offset, number, f.highest)
		}
		f.log[r.Offset], f.numbers[number], f.highest = number, r.Offset, number
		h.mu.Lock()
		h.denotesLocked(r.Offset, number, "the log")
		h.mu.Unlock()
	}
	for i, f := range s.found {
		f.next = ends[i]
	}
	return ends, nil
}

// read reads the topic at one site from offsets up to the ends of now. With a rack it reads at the site of that name.
func (s *suite) read(ctx context.Context, at *site, from []int64, rack string) (records []*kgo.Record, ends []int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	begin := map[int32]kgo.Offset{}
	for i := range from {
		begin[int32(i)] = kgo.NewOffset().At(from[i])
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(at.address), kgo.FetchMaxWait(100*time.Millisecond), kgo.MetadataMinAge(50*time.Millisecond),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: begin}), kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.Rack(rack))
	if err != nil {
		return nil, nil, err
	}
	defer client.Close()
	if ends, err = listEnds(ctx, client, len(from)); err != nil {
		return nil, nil, err
	}
	next := slices.Clone(from)
	behind := func() bool {
		for i := range next {
			if next[i] < ends[i] {
				return true
			}
		}
		return false
	}
	for behind() {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, nil, fmt.Errorf("read at %s up to %v, at %v: %w", at.name, ends, next, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset < ends[r.Partition] {
				records = append(records, r)
			}
			next[r.Partition] = r.Offset + 1
		})
	}
	return records, ends, nil
}

func listEnds(ctx context.Context, client *kgo.Client, count int) ([]int64, error) {
	ends := make([]int64, count)
	var last error
	err := poll(ctx, 50*time.Millisecond, func() (bool, error) {
		l, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
		if last = errors.Join(err, l.Error()); last == nil {
			l.Each(func(o kadm.ListedOffset) { ends[o.Partition] = o.Offset })
		}
		return last == nil, nil
	}, func() string { return fmt.Sprintf("end offsets: %v", last) })
	return ends, err
}

// readArchives reads the archives that the last check has not seen.
func (s *suite) readArchives(ctx context.Context, at *site) error {
	list, err := at.lostList(ctx)
	if err != nil {
		return err
	}
	var fresh []string
	for _, a := range list {
		if a.Topic == topic && !s.archives[a.ID] {
			fresh, s.archives[a.ID] = append(fresh, a.ID), true
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	records, err := at.lostShow(ctx, fresh)
	if err != nil {
		return err
	}
	for _, r := range records {
		h, f := s.histories[r.Partition], s.found[r.Partition]
		number, err := h.number(r.Key)
		if err != nil {
			return fmt.Errorf("archive: %w", err)
		}
		if _, again := f.archived[r.Offset]; again {
			return fmt.Errorf("partition %d: offset %d is in two archives, or twice in one", r.Partition, r.Offset)
		}
		f.archived[r.Offset] = number
		h.mu.Lock()
		h.denotesLocked(r.Offset, number, "an archive")
		h.mu.Unlock()
	}
	return nil
}

// settle finds each acknowledged record in the log or in an archive, in exactly one of them, at its offset, and returns those that are in
// an archive. A number that was not acknowledged where it is archived may be in the log as well: its producer had to send it again. And where
// there was a second failover, back to a site that had not followed the first one yet, what that site has may be the try before.
func (s *suite) settle(h *history, f *found, pending map[int64]ack, twice bool) (lost map[int64]ack, err error) {
	lost = map[int64]ack{}
	neither := 0
	var example string
	for offset, a := range pending {
		number, inLog := f.log[offset]
		inLog = inLog && number == a.number
		number, archived := f.archived[offset]
		archived = archived && number == a.number
		elsewhere, again := f.numbers[a.number]
		switch {
		case inLog && archived:
			return nil, fmt.Errorf("partition %d: number %d, acknowledged at %d, is in the log and in an archive", h.partition, a.number, offset)
		case archived && again && !(twice && elsewhere < offset):
			return nil, fmt.Errorf("partition %d: number %d, acknowledged at %d, is in an archive and in the log at %d", h.partition, a.number, offset, elsewhere)
		case archived:
			lost[offset] = a
		case !inLog:
			if neither++; neither == 1 || a.number%97 == 0 {
				example = fmt.Sprintf("number %d, acknowledged at offset %d at %s", a.number, offset, a.at.UTC().Format(time.RFC3339Nano))
				if again {
					example += fmt.Sprintf(", is in the log at %d", elsewhere)
				}
			}
		}
	}
	if neither > 0 {
		return nil, fmt.Errorf("partition %d: %d acknowledged records are neither in the log, read to %d, nor in an archive: %s", h.partition, neither, f.next, example)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for offset := range pending {
		delete(h.mu.pending, offset)
	}
	return lost, nil
}

// asReported holds what a round has lost of a partition against what its failovers have reported: nothing that was shipped, of what the lost
// site was known to have no more than was said, and beyond that only what was acknowledged since nothing is known.
func (r *round) asReported(partition int32, lost map[int64]ack) error {
	if r.untold {
		return nil
	}
	known := map[*partitionReport]int64{}
	for offset, a := range lost {
		whole, p := r.reportOf(partition, offset)
		switch {
		case p == nil:
			return fmt.Errorf("partition %d: number %d at offset %d is lost, by no failover", partition, a.number, offset)
		case p.ShippedEnd != nil && offset < *p.ShippedEnd:
			return fmt.Errorf("partition %d: number %d at offset %d is lost, and was reported as shipped (up to %d)", partition, a.number, offset, *p.ShippedEnd)
		case p.ActiveEnd == nil:
		case offset < *p.ActiveEnd:
			if known[p]++; p.LostRecords != nil && known[p] > *p.LostRecords {
				return fmt.Errorf("partition %d: more than the %d records that were reported are lost below offset %d", partition, *p.LostRecords, *p.ActiveEnd)
			}
		case whole.Lost.UnknownSince == nil:
			return fmt.Errorf("partition %d: number %d at offset %d is lost; the report says that no more than what is below %d can be", partition, a.number, offset, *p.ActiveEnd)
		case a.at.Before(*whole.Lost.UnknownSince):
			return fmt.Errorf("partition %d: number %d at offset %d is lost and was acknowledged %s before the moment since which nothing is known; all before that"+
				" is reported to be below %d", partition, a.number, offset, whole.Lost.UnknownSince.Sub(a.at), *p.ActiveEnd)
		}
	}
	return nil
}

// reportOf is the report of the failover that has cost an offset: the first one that went on above it.
func (r *round) reportOf(partition int32, offset int64) (*report, *partitionReport) {
	for _, whole := range r.reports {
		for i := range whole.Partitions {
			if p := &whole.Partitions[i]; p.Topic == topic && p.Partition == partition && p.Resumes != nil && offset < *p.Resumes {
				return whole, p
			}
		}
	}
	return nil, nil
}

// groupSkipsNothing waits until the group has got all that is in the log below ends.
func (s *suite) groupSkipsNothing(ctx context.Context, ends []int64) error {
	ctx, cancel := context.WithTimeout(ctx, groupLimit)
	defer cancel()
	for i, h := range s.histories {
		missing, first := 0, int64(-1)
		err := poll(ctx, 50*time.Millisecond, func() (bool, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			missing, first = 0, -1
			for offset := range s.found[i].log {
				if _, ok := h.mu.taken[offset]; !ok && offset < ends[i] && offset >= s.grouped[i] {
					if missing++; first < 0 || offset < first {
						first = offset
					}
				}
			}
			return missing == 0, nil
		}, func() string {
			return fmt.Sprintf("partition %d: the group has not got %d records of the log, the first at offset %d, the log ends at %d", h.partition, missing, first, ends[i])
		})
		if err != nil {
			return err
		}
		s.grouped[i] = ends[i]
	}
	return nil
}

// commitsAreWithin checks that no committed offset is beyond the data.
func (s *suite) commitsAreWithin(ctx context.Context, at *site) error {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(at.address))
	if err != nil {
		return err
	}
	defer client.Close()
	committed, err := kadm.NewClient(client).FetchOffsets(ctx, group)
	if err = errors.Join(err, committed.Error()); err != nil {
		return fmt.Errorf("committed offsets: %w", err)
	}
	ends, err := listEnds(ctx, client, len(s.histories))
	if err != nil {
		return err
	}
	committed.Each(func(o kadm.OffsetResponse) {
		if o.Topic == topic && o.At > ends[o.Partition] {
			err = errors.Join(err, fmt.Errorf("partition %d: the group has committed %d, the log ends at %d", o.Partition, o.At, ends[o.Partition]))
		}
	})
	return err
}

// sameBytes compares the segment files of both sites, batch by batch, below ends. The standby may need a moment.
func (s *suite) sameBytes(ctx context.Context, ends []int64) error {
	ctx, cancel := context.WithTimeout(ctx, equalLimit)
	defer cancel()
	for i := range ends {
		why := ""
		err := poll(ctx, 100*time.Millisecond, func() (bool, error) {
			a, err := logBytes(s.pair.sites[0].dataDir, fmt.Sprintf("%s-%d", topic, i), ends[i])
			if err != nil {
				return false, err
			}
			b, err := logBytes(s.pair.sites[1].dataDir, fmt.Sprintf("%s-%d", topic, i), ends[i])
			if err != nil {
				return false, err
			}
			why = firstDifference(a, b)
			return why == "", nil
		}, func() string {
			return fmt.Sprintf("partition %d: the sites' segment files differ below offset %d: %s", i, ends[i], why)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// batch is a record batch in a segment file.
type batch struct {
	offset int64
	bytes  string
}

// logBytes are the batches of a partition folder that begin below end.
func logBytes(dataDir, folder string, end int64) ([]batch, error) {
	const head = 12 // base offset and length
	files, err := filepath.Glob(filepath.Join(dataDir, folder, "*.log"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files) // names are offsets with leading zeroes
	var batches []batch
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for len(data) > head {
			offset, size := int64(binary.BigEndian.Uint64(data)), head+int(binary.BigEndian.Uint32(data[8:]))
			if size == head || size > len(data) || offset >= end {
				break // room that nothing was written to yet, or a batch that is being written
			}
			batches = append(batches, batch{offset, string(data[:size])})
			data = data[size:]
		}
	}
	return batches, nil
}

func firstDifference(a, b []batch) string {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("batch %d begins at %d and has %d bytes at one, at %d with %d bytes at the other", i, a[i].offset, len(a[i].bytes), b[i].offset, len(b[i].bytes))
		}
	}
	if len(a) != len(b) {
		return fmt.Sprintf("%d batches at one, %d at the other", len(a), len(b))
	}
	return ""
}

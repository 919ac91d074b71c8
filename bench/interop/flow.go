package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// flowEvery is the time between two records of a flow's producer, and so the resolution of its pauses.
const flowEvery = 20 * time.Millisecond

// flow is one family's producer and consumer that go on for as long as the step runs, and what they know.
type flow struct {
	client
	topic string
	env   []string // of both programs, besides that of this process

	run      *exec.Cmd
	problems lockedBuffer
	ended    chan struct{} // closed when the producer has ended and its output is read; endErr is set then
	endErr   error
	writing  sync.WaitGroup
	member   *member

	mu        sync.Mutex
	sent      []time.Time // by number of the record
	acked     map[int]bool
	failed    map[int]string // why
	acks      []time.Time
	reads     []time.Time // of what had not been read before
	read      map[position]seen
	again     int       // readings of what had been read
	stale     int       // those of them that no commit under way explains
	disturbed time.Time // when a site went for the last time
	silent    bool      // it has gone without a word
	lastRead  time.Time
}

func newFlow(c client, topic string, env ...string) *flow {
	return &flow{client: c, topic: topic, env: env, ended: make(chan struct{}), acked: map[int]bool{}, failed: map[int]string{},
		read: map[position]seen{}}
}

// seen is what a consumer read first at a position, and when.
type seen struct {
	hashes
	at time.Time
}

// commitWithin is how long a record may be read and not committed while all is well: every family's consumer commits by far more often.
const commitWithin = 2 * time.Second

// flowRecord is the n-th record of a flow.
func flowRecord(n int) content {
	return content{key: []byte(strconv.Itoa(n)), value: fmt.Appendf(nil, "%d %s", n, strings.Repeat("x", 100))}
}

// start runs producer and consumer; the producer's input ends with ctx.
func (f *flow) start(ctx context.Context, addresses string) (err error) {
	args := f.program.(flowProgram).flow(addresses, f.topic, f.idempotent)
	f.run = exec.Command(args[0], args[1:]...)
	f.run.Env = append(os.Environ(), f.env...)
	input, err1 := f.run.StdinPipe()
	output, err2 := f.run.StdoutPipe()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	f.run.Stderr = &f.problems
	if err := f.run.Start(); err != nil {
		return fmt.Errorf("start the producer of %s: %w", f.name, err)
	}
	go func() { // ends with the process, awaited through ended
		defer close(f.ended)
		f.answers(output)
		f.endErr = f.run.Wait()
	}()
	f.writing.Go(func() { f.write(ctx, input) })
	f.member, err = startMember(player{f.family, f.program}, memberJob{address: addresses, group: f.topic, clientID: f.name, topics: []string{f.topic}, env: f.env}, f.saw)
	return err
}

// write gives the producer a record every flowEvery.
func (f *flow) write(ctx context.Context, input io.WriteCloser) {
	defer input.Close()
	tick := time.NewTicker(flowEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		f.mu.Lock()
		f.sent = append(f.sent, time.Now())
		f.mu.Unlock()
		r := flowRecord(n)
		if _, err := fmt.Fprintf(input, "%s %s\n", encode(r.key), encode(r.value)); err != nil {
			return // the producer has ended, which the step looks at
		}
	}
}

func (f *flow) answers(output io.Reader) {
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		fields := strings.SplitN(lines.Text(), " ", 3)
		if len(fields) < 2 {
			continue
		}
		n, err := strconv.Atoi(decodeText(fields[1]))
		if err != nil {
			continue
		}
		f.mu.Lock()
		if fields[0] == "ack" {
			f.acked[n] = true
			f.acks = append(f.acks, time.Now())
		} else {
			f.failed[n] = lines.Text()
		}
		f.mu.Unlock()
	}
}

// saw takes what the consumer reads.
func (f *flow) saw(_ *member, r reading) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	f.lastRead = now
	before, ok := f.read[r.position]
	switch {
	case !ok:
		f.read[r.position] = seen{r.hashes, now}
		f.reads = append(f.reads, now)
		return nil
	case before.hashes != r.hashes: // a record of the lost site and the one that took its place would be an offset used twice
		return fmt.Errorf("%v was read with two contents", r.position)
	}
	f.again++
	if f.disturbed.IsZero() || before.at.Before(f.disturbed.Add(-commitWithin)) {
		f.stale++
	}
	return nil
}

// disturb says when a site goes. What was read since then may be read again, however late: kafkajs reads on for half a minute while it
// looks for the coordinator of its group, and cannot commit.
func (f *flow) disturb(at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.disturbed = at
}

// went tells whether a record sent after a time is acknowledged, and whether the consumer has read since. Who stays on dead connections is
// not waited for; its consumer is where it was told to be short with them.
func (f *flow) went(since time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	read, stays := f.lastRead.After(since), f.silent && f.stays
	if !read || stays {
		return stays && (read || len(f.env) == 0)
	}
	for n := len(f.sent) - 1; n >= 0 && f.sent[n].After(since); n-- {
		if f.acked[n] {
			return true
		}
	}
	return false
}

// silence says that the other end of the flow's connections has gone without a word, or is there again.
func (f *flow) silence(gone bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.silent = gone
}

// alive is an error when one of the two programs has ended.
func (f *flow) alive() error {
	select {
	case <-f.ended:
		return fmt.Errorf("the producer of %s ended: %w\n%s", f.name, errors.Join(errors.New("unasked"), f.endErr), tail(f.problems.String()))
	default:
		return f.member.failed()
	}
}

// pauses tells of the longest time between two acknowledgements, and between two readings of something new, of which the second came after
// since; or has not come yet.
func (f *flow) pauses(since time.Time) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return "wrote nothing for " + longestPause(f.acks, since) + ", read nothing for " + longestPause(f.reads, since)
}

func longestPause(times []time.Time, since time.Time) string {
	longest := time.Duration(0)
	for i := 1; i < len(times); i++ {
		if times[i].After(since) {
			longest = max(longest, times[i].Sub(times[i-1]))
		}
	}
	if n := len(times); n > 0 {
		if open := time.Since(times[n-1]); open > max(longest, time.Second) {
			return fmt.Sprintf("more than %d ms", open.Milliseconds())
		}
	}
	return fmt.Sprintf("%d ms", longest.Milliseconds())
}

// finish waits for the producer, whose input has ended.
func (f *flow) finish() error {
	f.writing.Wait()
	select {
	case <-f.ended:
	case <-time.After(leaveLimit):
		return fmt.Errorf("the producer of %s does not end\n%s", f.name, tail(f.problems.String()))
	}
	if f.endErr != nil {
		return fmt.Errorf("the producer of %s: %w\n%s", f.name, f.endErr, tail(f.problems.String()))
	}
	return nil
}

// kill ends both programs, where they have not ended.
func (f *flow) kill() {
	if f.run != nil && f.run.Process != nil {
		_ = f.run.Process.Kill()
		<-f.ended
	}
	f.writing.Wait()
	if f.member != nil {
		_ = f.member.kill()
	}
}

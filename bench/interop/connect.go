package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tandembroker/tandem/bench/internal/process"
)

const connectWorker = "org.apache.kafka.connect.cli.ConnectDistributed"

// kafkaConnect runs a worker of Kafka Connect, whose state is in topics and groups: a source counts into a topic, a sink tells what
// it finds there. The worker is killed on the way, and so is a Tandem of our own; the sink must have seen every number.
func (s *suite) kafkaConnect(ctx context.Context) error {
	const first, second, third = 400, 800, 1200 // numbers
	classes, err := s.javaClasses(ctx)
	if errors.Is(err, errNotHere) {
		s.missing("kafka-connect", err)
		return nil
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, clientLimit)
	defer cancel()
	topic, err := s.topic(ctx, "numbers", 1)
	if err != nil {
		return err
	}
	w, err := s.newWorker(classes)
	if err != nil {
		return err
	}
	defer w.kill()
	if err := w.start(ctx); err != nil {
		return err
	}
	for name, config := range map[string]map[string]string{
		"source": {"connector.class": "Counting$Source", "topic": topic, "tasks.max": "1"},
		"sink":   {"connector.class": "Counting$Sink", "topics": topic, "tasks.max": "1"},
	} {
		if err := w.create(ctx, s.prefix+name, config); err != nil {
			return err
		}
	}
	if err := w.await(ctx, first); err != nil {
		return err
	}
	if s.broker != nil {
		s.broker.kill()
		if err := s.broker.start(ctx); err != nil {
			return err
		}
		if err := w.await(ctx, second); err != nil {
			return fmt.Errorf("after a kill of the broker: %w", err)
		}
	}
	w.kill()
	if err := w.start(ctx); err != nil {
		return err
	}
	if err := w.await(ctx, third); err != nil {
		return fmt.Errorf("after a kill of the worker: %w", err)
	}
	return nil
}

// worker is a process of Kafka Connect, distributed mode.
type worker struct {
	args    []string
	rest    string // host:port of its REST listener
	log     string
	command *exec.Cmd
	ended   chan struct{} // closed when its output has ended
	told    chan int64    // numbers that the sink has seen
	next    int64         // the lowest that it has not
}

func (s *suite) newWorker(classes string) (*worker, error) {
	addresses, err := process.FreeAddresses(1)
	if err != nil {
		return nil, err
	}
	properties := []string{
		"bootstrap.servers=" + s.address, "group.id=" + s.prefix + "connect", "listeners=HTTP://" + addresses[0],
		"key.converter=org.apache.kafka.connect.converters.LongConverter",
		"value.converter=org.apache.kafka.connect.converters.LongConverter", "offset.flush.interval.ms=500",
		"plugin.discovery=only_scan", "session.timeout.ms=6000", "heartbeat.interval.ms=1000",
		"scheduled.rebalance.max.delay.ms=0", "consumer.auto.offset.reset=earliest", "consumer.session.timeout.ms=6000",
	}
	for _, state := range []string{"offset", "config", "status"} {
		properties = append(properties, state+".storage.topic="+s.prefix+"connect-"+state, state+".storage.replication.factor=1")
	}
	file := filepath.Join(s.dir, "connect.properties")
	if err := os.WriteFile(file, []byte(strings.Join(properties, "\n")+"\n"), 0o644); err != nil {
		return nil, err
	}
	return &worker{args: append(s.javaCommand(classes, connectWorker), file), rest: addresses[0], log: filepath.Join(s.dir, "connect.log"),
		told: make(chan int64, 1<<16)}, nil
}

// start runs the worker and returns when it answers.
func (w *worker) start(ctx context.Context) error {
	log, err := os.OpenFile(w.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own
	w.command = exec.Command(w.args[0], w.args[1:]...)
	w.command.Stderr = log
	out, err := w.command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := w.command.Start(); err != nil {
		return err
	}
	w.ended = make(chan struct{})
	go func() { // ends with the process, awaited by kill
		defer close(w.ended)
		w.listen(out)
	}()
	for {
		if response, err := http.Get("http://" + w.rest + "/connectors"); err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-w.ended:
			return fmt.Errorf("the worker ended\n%s", w.logTail())
		case <-ctx.Done():
			return fmt.Errorf("the worker does not answer: %w\n%s", ctx.Err(), w.logTail())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// listen takes what the sink tells from the worker's output.
func (w *worker) listen(out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var number int64
		if n, _ := fmt.Sscanf(lines.Text(), "saw %d", &number); n == 1 {
			w.told <- number
		}
	}
}

// create makes a connector; a worker that has just started may be busy with its group.
func (w *worker) create(ctx context.Context, name string, config map[string]string) error {
	body, err := json.Marshal(map[string]any{"name": name, "config": config})
	if err != nil {
		return err
	}
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+w.rest+"/connectors", bytes.NewReader(body))
		if err != nil {
			return err
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		answer, err := io.ReadAll(response.Body)
		response.Body.Close()
		switch {
		case err != nil:
			return err
		case response.StatusCode == http.StatusCreated:
			return nil
		case response.StatusCode != http.StatusConflict:
			return fmt.Errorf("create connector %s: %s: %s", name, response.Status, answer)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// await returns when the sink has seen all numbers up to n. A number it skips is an error: the source repeats some after a kill,
// but their order in the topic's only partition is that of counting.
func (w *worker) await(ctx context.Context, n int64) error {
	for w.next <= n {
		select {
		case seen := <-w.told:
			if seen > w.next {
				return fmt.Errorf("the sink saw %d after %d", seen, w.next-1)
			}
			w.next = max(w.next, seen+1)
		case <-w.ended:
			return fmt.Errorf("the worker ended\n%s", w.logTail())
		case <-ctx.Done():
			return fmt.Errorf("the sink saw %d numbers: %w\n%s", w.next, ctx.Err(), w.logTail())
		}
	}
	return nil
}

// kill ends the worker without a warning.
func (w *worker) kill() {
	if w.command == nil || w.command.Process == nil {
		return
	}
	_ = w.command.Process.Kill()
	<-w.ended
	_ = w.command.Wait()
}

func (w *worker) logTail() string {
	text, err := os.ReadFile(w.log)
	if err != nil {
		return err.Error()
	}
	return tail(string(text))
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"time"
)

// refused is the exit code of `tandem dr` for an order that was not begun.
const refused = 3

// orderLimit is how long an order may take.
const orderLimit = 30 * time.Second

// status is what `tandem dr status --json` tells, as far as it matters here.
type status struct {
	Green   bool `json:"green"`
	Reasons []struct {
		Code string `json:"code"`
		Text string `json:"text"`
	} `json:"reasons"`
	Next  string `json:"next"`
	Sites []struct {
		Name      string `json:"name"`
		Role      string `json:"role"`
		SiteEpoch uint32 `json:"site_epoch"`
		Serving   bool   `json:"serving"`
	} `json:"sites"`
	Order *struct {
		Kind  string `json:"kind"`
		State string `json:"state"`
		Step  string `json:"step"`
	} `json:"order"`
}

// order is what a switchover or failover ends with.
type order struct {
	State  string  `json:"state"`
	Error  string  `json:"error"`
	Report *report `json:"report"`

	code   int
	output string
}

// report is what a promotion has cost, by the product.
type report struct {
	Kind      string    `json:"kind"`
	SiteEpoch uint32    `json:"site_epoch"`
	Promoted  time.Time `json:"promoted"`
	Lost      struct {
		Records      *int64     `json:"records"`
		UnknownSince *time.Time `json:"unknown_since"`
	} `json:"lost"`
	Partitions []partitionReport `json:"partitions"`
}

// partitionReport is a report's part about one partition; nil = not known.
type partitionReport struct {
	Topic       string `json:"topic"`
	Partition   int32  `json:"partition"`
	ShippedEnd  *int64 `json:"shipped_end"`
	ActiveEnd   *int64 `json:"active_end"`
	Resumes     *int64 `json:"resumes"`
	LostRecords *int64 `json:"lost_records"`
}

// dr runs `tandem dr` against one site, with --json.
func (s *site) dr(ctx context.Context, args ...string) (stdout []byte, code int, err error) {
	args = append(append([]string{"dr"}, args...), "--bootstrap-server", s.address, "--json")
	command := exec.CommandContext(ctx, s.binary, args...)
	var errOut bytes.Buffer
	command.Stderr = &errOut
	stdout, err = command.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() > 0 {
		if len(stdout) == 0 {
			stdout = errOut.Bytes() // the error, as JSON too
		}
		return stdout, exit.ExitCode(), fmt.Errorf("tandem %v: exit %d: %s", args, exit.ExitCode(), bytes.TrimSpace(stdout))
	}
	return stdout, 0, err
}

func (s *site) status(ctx context.Context) (*status, error) {
	out, _, err := s.dr(ctx, "status", "--timeout", "3s")
	var st status
	if jsonErr := json.Unmarshal(out, &st); jsonErr != nil {
		return nil, errors.Join(err, jsonErr)
	}
	return &st, err
}

// order gives an order and waits for its end. That it was refused or failed is told, not an error.
func (s *site) order(ctx context.Context, args ...string) (*order, error) {
	ctx, cancel := context.WithTimeout(ctx, orderLimit+10*time.Second)
	defer cancel()
	out, code, err := s.dr(ctx, append(args, "--yes", "--timeout", orderLimit.String())...)
	if code == 0 && err != nil {
		return nil, err
	}
	o := order{code: code, output: string(bytes.TrimSpace(out))}
	if jsonErr := json.Unmarshal(out, &o); jsonErr != nil {
		return nil, fmt.Errorf("%v: %q is not JSON: %w", args, out, errors.Join(err, jsonErr))
	}
	return &o, nil
}

// archive is a part of `tandem dr lost list`.
type archive struct {
	ID        string `json:"id"`
	Site      string `json:"site"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Records   int64  `json:"records"`
}

// lostRecord is a line of `tandem dr lost show`.
type lostRecord struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Key       []byte `json:"key"`
}

func (s *site) lostList(ctx context.Context) ([]archive, error) {
	out, _, err := s.dr(ctx, "lost", "list")
	if err != nil {
		return nil, err
	}
	var l struct {
		Archives []archive `json:"archives"`
		Missing  string    `json:"missing"`
	}
	if err := json.Unmarshal(out, &l); err != nil {
		return nil, err
	}
	if l.Missing != "" {
		return nil, fmt.Errorf("lost list at %s is incomplete: %s", s.name, l.Missing)
	}
	return l.Archives, nil
}

func (s *site) lostShow(ctx context.Context, ids []string) ([]lostRecord, error) {
	out, _, err := s.dr(ctx, append([]string{"lost", "show"}, ids...)...)
	if err != nil {
		return nil, err
	}
	var records []lostRecord
	for decoder := json.NewDecoder(bytes.NewReader(out)); decoder.More(); {
		var r lostRecord
		if err := decoder.Decode(&r); err != nil {
			return nil, fmt.Errorf("lost show: %w", err)
		}
		records = append(records, r)
	}
	return records, nil
}

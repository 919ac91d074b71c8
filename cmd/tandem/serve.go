package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/tandembroker/tandem/broker"
	"github.com/tandembroker/tandem/broker/config"
)

// lastLineLimit is how long the last line of a process that must end may wait for whoever reads its log.
const lastLineLimit = time.Second

// signalsTogether is how long after the first signal another one is still the same wish: timeout(1) and some supervisors signal a
// process and its group.
const signalsTogether = 500 * time.Millisecond

// settings collects the arguments of a flag that may be repeated.
type settings []string

func (s *settings) String() string { return fmt.Sprint([]string(*s)) }

func (s *settings) Set(arg string) error {
	*s = append(*s, arg)
	return nil
}

// serve runs a broker until SIGTERM or SIGINT; one more signal, but for those that come together with it, ends the process at once.
func serve(args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet("tandem serve", flag.ContinueOnError)
	flags.SetOutput(stderr)
	file := flags.String("c", "", "a Kafka server.properties `FILE`")
	var set settings
	flags.Var(&set, "set", "a setting, `key=value`; may be repeated")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return exitDone
		}
		return exitUsage
	}
	if flags.NArg() > 0 {
		_, _ = fmt.Fprintf(stderr, "tandem serve: unexpected argument %q\n", flags.Arg(0))
		return exitUsage
	}
	cfg, err := config.Load(config.Input{
		File: *file, ReadFile: os.ReadFile, Environment: os.Environ(), Set: set, Hostname: os.Hostname,
	})
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "tandem serve: the settings are not accepted:\n%v\n", err)
		return exitUsage
	}
	logger := newLogger(cfg, stderr)
	for _, w := range cfg.Warnings {
		logger.Warn(w.Message, "settings", w.Keys)
	}
	tuneRuntime(cfg.MemoryLimit)
	defer paceCollector()()
	limitFiles(cfg, logger)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, func() { time.AfterFunc(signalsTogether, stop) }) // then a signal has its default effect again
	if err := runBroker(ctx, cfg, logger); err != nil {
		_, _ = fmt.Fprintf(stderr, "tandem serve: %v\n", err)
		return exitFailed
	}
	return exitDone
}

func runBroker(ctx context.Context, cfg *config.Config, logger *slog.Logger) error {
	b, err := broker.New(cfg, broker.Options{
		Logger:    logger,
		Version:   versionText(),
		CheckMeta: checkMetaInChild,
		OnFatal:   dying(logger),
	})
	if err != nil {
		return err
	}
	return b.Run(ctx)
}

// dying is what ends the process at once, with one line, however many goroutines meet a failure: after a failed write or sync
// nothing that is still in memory can be trusted to reach the disk, and recovery at the next start is the way back.
func dying(logger *slog.Logger) func(error) {
	var once sync.Once // never done: nobody comes back from it
	return func(err error) {
		once.Do(func() {
			time.AfterFunc(lastLineLimit, func() { os.Exit(exitFatal) })
			logger.Error("fatal: the process ends, its next start recovers", "error", err)
			os.Exit(exitFatal)
		})
	}
}

func newLogger(cfg *config.Config, w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.LoggerLevel)); err != nil {
		level = slog.LevelInfo // cannot be: the value was checked when it was loaded
	}
	options := &slog.HandlerOptions{Level: level}
	if cfg.LoggerFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

package main

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/tandembroker/tandem/bench/internal/process"
)

// kafkaPOM names the release of Apache Kafka that interop's tools are of.
//
//go:embed interop/pom.xml
var kafkaPOM []byte

const (
	storageTool = "kafka.tools.StorageTool"
	kafkaMain   = "kafka.Kafka"
	kafkaHeap   = "-Xmx1g" // the default of kafka-server-start.sh

	javaTerminated = 128 + int(syscall.SIGTERM) // what Java ends with after it
)

// kafkaClassPath is where Maven has put Apache Kafka. The answer is kept where bench/interop keeps it.
func kafkaClassPath(ctx context.Context, dir string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	known := filepath.Join(cache, "tandem-interop", fmt.Sprintf("class-path-%x", sha256.Sum256(kafkaPOM)))
	if text, err := os.ReadFile(known); err == nil {
		return strings.TrimSpace(string(text)), nil
	}
	pom, answer := filepath.Join(dir, "pom.xml"), filepath.Join(dir, "class-path")
	if err := os.WriteFile(pom, kafkaPOM, 0o644); err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, "mvn", "-q", "-B", "-f", pom, "dependency:build-classpath", "-Dmdep.outputFile="+answer).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("resolve Apache Kafka with Maven: %w\n%s", err, out)
	}
	text, err := os.ReadFile(answer)
	return strings.TrimSpace(string(text)), err
}

// startKafka runs Apache Kafka, broker and controller in one process, on an empty folder below o.dir. Its settings are those of
// the server.properties that it comes with, but for sets.
func startKafka(ctx context.Context, o options, sets ...string) (*broker, error) {
	classPath, err := kafkaClassPath(ctx, o.dir)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(o.dir, "kafka-")
	if err != nil {
		return nil, err
	}
	addresses, err := process.FreeAddresses(2)
	if err != nil {
		return nil, err
	}
	addr, controller := addresses[0], addresses[1]
	settings := append([]string{
		"process.roles=broker,controller", "node.id=1", "controller.quorum.voters=1@" + controller,
		"listeners=PLAINTEXT://" + addr + ",CONTROLLER://" + controller, "advertised.listeners=PLAINTEXT://" + addr,
		"controller.listener.names=CONTROLLER", "inter.broker.listener.name=PLAINTEXT",
		"listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
		"log.dirs=" + filepath.Join(dir, "data"),
		"offsets.topic.replication.factor=1", "transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1",
	}, sets...)
	file := filepath.Join(dir, "server.properties")
	if err := os.WriteFile(file, []byte(strings.Join(settings, "\n")+"\n"), 0o644); err != nil {
		return nil, err
	}
	java := func(class string, args ...string) []string {
		return append([]string{"java", kafkaHeap, "-XX:+UseG1GC", "-cp", classPath, class}, args...)
	}
	format := java(storageTool, "format", "-t", "4L6g3nShT-eMCtK--X86sw", "-c", file)
	if out, err := exec.Command(format[0], format[1:]...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("format Kafka's folder: %w\n%s", err, out)
	}
	b := &broker{addr: addr, dir: dir}
	b.process, err = process.Start(process.Command{Name: "Apache Kafka", Args: java(kafkaMain, file), Log: filepath.Join(dir, "kafka.log"),
		ExitCode: javaTerminated})
	if err != nil {
		return nil, err
	}
	c, err := b.dial(ctx)
	if err == nil {
		err = c.await(ctx, c.metadata)
		c.close()
	}
	if err != nil {
		b.kill()
		return nil, err
	}
	return b, nil
}

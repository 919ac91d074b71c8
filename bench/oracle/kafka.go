package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/tandembroker/tandem/bench/internal/process"
)

// kafkaLag is how long Kafka's broker may lag behind its controller.
const kafkaLag = 40 * time.Millisecond

// startKafka runs one node of Apache Kafka, broker and controller in one, of the release that bench/interop/pom.xml names.
func startKafka(ctx context.Context, pomFile, dir string) (*process.Process, *side, error) {
	classPath, err := classPath(ctx, pomFile)
	if err != nil {
		return nil, nil, err
	}
	addresses, err := process.FreeAddresses(2)
	if err != nil {
		return nil, nil, err
	}
	properties := filepath.Join(dir, "kafka.properties")
	settings := append([]string{
		"process.roles=broker,controller", "controller.quorum.voters=1@" + addresses[1], "controller.listener.names=CONTROLLER",
		"listeners=PLAINTEXT://" + addresses[0] + ",CONTROLLER://" + addresses[1], "log.dirs=" + filepath.Join(dir, "kafka"),
		"transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1", "transaction.state.log.num.partitions=4",
		"share.coordinator.state.topic.replication.factor=1", "share.coordinator.state.topic.min.isr=1",
	}, aligned...)
	if err := os.WriteFile(properties, []byte(strings.Join(settings, "\n")+"\n"), 0o644); err != nil {
		return nil, nil, err
	}
	// With eligible leader replicas, min.insync.replicas is a setting of the cluster from the start.
	format := exec.CommandContext(ctx, "java", "-cp", classPath, "kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ",
		"-c", properties, "--feature", "eligible.leader.replicas.version=0")
	if out, err := format.CombinedOutput(); err != nil {
		return nil, nil, fmt.Errorf("format Kafka's folder: %w\n%s", err, out)
	}
	s := &side{name: "Kafka", address: addresses[0], lag: kafkaLag}
	args := []string{"java", "-Xmx512m", "-XX:+UseSerialGC", "-cp", classPath, "kafka.Kafka", properties}
	p, err := process.Start(process.Command{Name: s.name, Args: args, Log: filepath.Join(dir, "kafka.log")})
	if err != nil {
		return nil, nil, err
	}
	return p, s, s.await(ctx, p)
}

// classPath asks Maven for Kafka's, once a machine: bench/interop keeps the answer in the same place.
func classPath(ctx context.Context, pomFile string) (string, error) {
	pom, err := os.ReadFile(pomFile)
	if err != nil {
		return "", fmt.Errorf("run it in the root of the repository: %w", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	file := filepath.Join(cache, "tandem-interop", fmt.Sprintf("class-path-%x", sha256.Sum256(pom)))
	if known, err := os.ReadFile(file); err == nil && jarsExist(trimmed(known)) {
		return trimmed(known), nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return "", err
	}
	ask := exec.CommandContext(ctx, "mvn", "-q", "-B", "-f", pomFile, "dependency:build-classpath", "-Dmdep.outputFile="+file)
	if out, err := ask.CombinedOutput(); err != nil {
		return "", fmt.Errorf("resolve Apache Kafka with Maven: %w\n%s", err, out)
	}
	answer, err := os.ReadFile(file)
	return trimmed(answer), err
}

func jarsExist(classPath string) bool {
	for jar := range strings.SplitSeq(classPath, ":") {
		if _, err := os.Stat(jar); err != nil {
			return false
		}
	}
	return classPath != ""
}

// kafkaRelease is the release that a pom.xml names.
func kafkaRelease(pom []byte) string {
	if found := regexp.MustCompile(`<kafka\.version>(.*)</kafka\.version>`).FindSubmatch(pom); found != nil {
		return string(found[1])
	}
	return "unknown"
}

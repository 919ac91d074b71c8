package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/tandembroker/tandem/bench/internal/process"
)

// apacheSettings are those of a broker and controller in one process (KRaft combined mode). The delays are Kafka's defaults.
const apacheSettings = `process.roles=broker,controller
node.id=1
controller.quorum.voters=1@%[2]s
listeners=PLAINTEXT://%[1]s,CONTROLLER://%[2]s
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=%[3]s
offsets.topic.replication.factor=1
offsets.topic.num.partitions=5
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
`

// startApache formats a folder and runs Apache Kafka in it, to see what the steps say of the original. The returned function
// ends it.
func (s *suite) startApache(ctx context.Context) (stop func(), err error) {
	if err := s.resolveJava(ctx); err != nil {
		return nil, err
	}
	addresses, err := process.FreeAddresses(2)
	if err != nil {
		return nil, err
	}
	s.address = addresses[0]
	settings := filepath.Join(s.dir, "kafka.properties")
	text := fmt.Sprintf(apacheSettings, addresses[0], addresses[1], filepath.Join(s.dir, "kafka"))
	if err := os.WriteFile(settings, []byte(text), 0o644); err != nil {
		return nil, err
	}
	if _, err := s.kafkaTool(ctx, nil, "kafka.tools.StorageTool", "format", "--cluster-id", "dGFuZGVtLWludGVyb3AtMQ", "--config", settings); err != nil {
		return nil, err
	}
	args := append(s.javaCommand("", "kafka.Kafka"), settings)
	args[1] = "-Xmx1g"
	kafka, err := process.Start(process.Command{Name: "Apache Kafka", Args: args, Log: filepath.Join(s.dir, "kafka.log")})
	if err != nil {
		return nil, err
	}
	if err := s.awaitApache(ctx, kafka); err != nil {
		kafka.Kill()
		return nil, err
	}
	return kafka.Kill, nil
}

func (s *suite) awaitApache(ctx context.Context, kafka *process.Process) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	return kafka.Await(ctx, 100*time.Millisecond, func() error {
		brokers, err := kadm.NewClient(client).ListBrokers(ctx)
		if err == nil && len(brokers) != 1 {
			err = fmt.Errorf("%d brokers", len(brokers))
		}
		return err
	})
}

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// refusalLimit is how long a client may take to learn that it asks for what there is not; librdkafka and Java's clients ask again
// for a minute or two where the answer leaves room for hope.
const refusalLimit = 30 * time.Second

// refusals: clients that want transactions or a login give up by themselves, with a reason that says so.
func (s *suite) refusals(ctx context.Context) error {
	topic, err := s.topic(ctx, "refusals", 1)
	if err != nil {
		return err
	}
	login := filepath.Join(s.dir, "login.properties")
	if err := os.WriteFile(login, []byte("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config="+
		"org.apache.kafka.common.security.plain.PlainLoginModule required username=\"u\" password=\"p\";\n"), 0o600); err != nil {
		return err
	}
	if s.java == nil {
		if err := s.resolveJava(ctx); err != nil {
			return err
		}
	}
	const noTransactions, noLogin = "This broker has no transactions", "Request not valid in current SASL state"
	for _, r := range []struct {
		name, reason string
		args         []string
	}{
		{"kcat with a transactional id", noTransactions, []string{"kcat", "-P", "-b", s.address, "-t", topic, "-X", "transactional.id=" + topic}},
		{"kafka-producer-perf-test with a transactional id", noTransactions, append(s.javaCommand("", producerPerf), "--bootstrap-server", s.address,
			"--topic", topic, "--num-records", "1", "--record-size", "10", "--throughput", "-1", "--transactional-id", topic)},
		{"kcat with a login", noLogin, []string{"kcat", "-L", "-b", s.address, "-X", "security.protocol=SASL_PLAINTEXT", "-X", "sasl.mechanisms=PLAIN",
			"-X", "sasl.username=u", "-X", "sasl.password=p"}},
		{"kafka-topics with a login", "Unexpected handshake request", append(s.javaCommand("", topicCommand), "--bootstrap-server", s.address, "--list",
			"--command-config", login)},
	} {
		if err := refused(ctx, r.args, r.reason); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	return nil
}

// refused runs a client, which must fail by itself, and for the reason.
func refused(ctx context.Context, args []string, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, refusalLimit)
	defer cancel()
	_, err := command(ctx, nil, args[0], args[1:]...)
	switch {
	case err == nil:
		return fmt.Errorf("went well, and should have been refused")
	case ctx.Err() != nil:
		return fmt.Errorf("did not give up: %w", err)
	case !strings.Contains(err.Error(), reason):
		return fmt.Errorf("gave another reason than %q: %w", reason, err)
	}
	return nil
}

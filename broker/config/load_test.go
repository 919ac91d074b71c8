package config

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// load runs Load on the text of a file ("" = no file), an environment and --set arguments.
func load(file string, environment, set []string) (*Config, error) {
	in := Input{Environment: environment, Set: set, Hostname: func() (string, error) { return "box.example", nil }}
	if file != "" {
		in.File = "server.properties"
		in.ReadFile = func(string) ([]byte, error) { return []byte(file), nil }
	}
	return Load(in)
}

func mustLoad(t *testing.T, file string, environment, set []string) *Config {
	t.Helper()
	c, err := load(file, environment, set)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func warned(c *Config, key string) (string, bool) {
	for _, w := range c.Warnings {
		if slices.Contains(w.Keys, key) {
			return w.Message, true
		}
	}
	return "", false
}

func TestDefaults(t *testing.T) {
	c := mustLoad(t, "", nil, nil)
	if c.NodeID != 1 || len(c.LogDirs) != 1 || c.LogDirs[0] != "./tandem-data" || c.MetadataLogDir != "./tandem-data" {
		t.Errorf("node.id %d, log.dirs %q, metadata.log.dir %q", c.NodeID, c.LogDirs, c.MetadataLogDir)
	}
	if len(c.Listeners) != 1 || c.Listeners[0].Address() != "127.0.0.1:9092" || c.Listeners[0].AdvertisedHost != "127.0.0.1" {
		t.Errorf("listeners %+v", c.Listeners)
	}
	if c.AdminListener != "127.0.0.1:9644" || !c.AdminMayMove {
		t.Errorf("admin.listener %q, may move %v", c.AdminListener, c.AdminMayMove)
	}
	if c.Topic.RetentionMs != 7*24*3600*1000 || c.Topic.SegmentBytes != 1<<30 || !c.Topic.Delete || c.Topic.Compact {
		t.Errorf("topic %+v", c.Topic)
	}
	if c.ProducerIDExpiration != 24*time.Hour || c.Network.RequestBytesMax != 100<<20 {
		t.Errorf("producer.id.expiration.ms %s, socket.request.max.bytes %d", c.ProducerIDExpiration, c.Network.RequestBytesMax)
	}
	if c.Network.SendBufferBytes != -1 || c.Network.ReceiveBufferBytes != -1 {
		t.Errorf("socket buffers of %d and %d bytes: the kernel must choose", c.Network.SendBufferBytes, c.Network.ReceiveBufferBytes)
	}
	if len(c.Warnings) != 0 {
		t.Errorf("warnings without any setting: %v", c.Warnings)
	}
}

func TestPrecedence(t *testing.T) {
	file := "node.id=2\nnum.partitions=2\nlog.retention.ms=1000\nlog.dirs=/file"
	c := mustLoad(t, file, []string{"KAFKA_NODE_ID=3", "KAFKA_NUM_PARTITIONS=3"}, []string{"node.id=4", "node.id=5", "log.dir=/flag"})
	if c.NodeID != 5 || c.NumPartitions != 3 || c.Topic.RetentionMs != 1000 {
		t.Errorf("node.id %d, want 5 (the last --set); num.partitions %d, want 3 (environment); retention.ms %d, want 1000 (file)",
			c.NodeID, c.NumPartitions, c.Topic.RetentionMs)
	}
	if c.LogDirs[0] != "/flag" {
		t.Errorf("log.dirs %q: the file's log.dirs outvoted --set log.dir", c.LogDirs)
	}
	c = mustLoad(t, file, nil, []string{"log.retention.hours=2"})
	if c.Topic.RetentionMs != 2*3600*1000 {
		t.Errorf("retention.ms %d: the file's log.retention.ms outvoted --set log.retention.hours=2", c.Topic.RetentionMs)
	}
	c = mustLoad(t, "log.retention.hours=1\nlog.retention.minutes=5\n", nil, nil)
	if c.Topic.RetentionMs != 5*60*1000 {
		t.Errorf("retention.ms %d, want minutes before hours", c.Topic.RetentionMs)
	}
	if c := mustLoad(t, "broker.id=7", nil, nil); c.NodeID != 7 {
		t.Errorf("broker.id=7 gave node id %d", c.NodeID)
	}
}

func TestStockFileStarts(t *testing.T) {
	c, err := Load(Input{File: "testdata/server.properties", ReadFile: os.ReadFile})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Listeners) != 1 || c.Listeners[0].Address() != ":9092" || c.Listeners[0].AdvertisedHost != "localhost" {
		t.Errorf("listeners %+v, want PLAINTEXT alone", c.Listeners)
	}
	count := 0
	for _, w := range c.Warnings {
		if slices.Contains(w.Keys, "process.roles") {
			count++
			if !slices.Contains(w.Keys, "controller.quorum.bootstrap.servers") {
				t.Errorf("%q is not in the one warning %v", "controller.quorum.bootstrap.servers", w)
			}
		}
	}
	if count != 1 {
		t.Errorf("process.roles was warned of %d times in %v", count, c.Warnings)
	}
	if _, ok := warned(c, "CONTROLLER://:9093"); !ok {
		t.Errorf("no warning about the controller listener: %v", c.Warnings)
	}
	if message, ok := warned(c, "PLAINTEXT://:9092"); !ok || !strings.Contains(message, "ANYONE") {
		t.Errorf("no loud warning about the open listener: %v", c.Warnings)
	}
	if _, ok := warned(c, "num.partitions"); ok {
		t.Error("num.partitions is honoured, yet warned of")
	}
}

func TestEnvironment(t *testing.T) {
	c := mustLoad(t, "", []string{
		"KAFKA_LOG_DIRS=/env", "KAFKA_HEAP_OPTS=-Xmx1g", "KAFKA_SERVICE_HOST=10.0.0.1", "KAFKA_ZOOKEEPER_CONNECT=zk:2181",
		"CLUSTER_ID=MkU3OEVBNTcwNTJENDM2Qk", "PATH=/bin", "KAFKA_LISTENERS=PLAINTEXT://127.0.0.1:19092", "odd",
	}, nil)
	if c.LogDirs[0] != "/env" || c.ClusterID != "MkU3OEVBNTcwNTJENDM2Qk" || c.Listeners[0].Port != 19092 {
		t.Errorf("log.dirs %q, cluster id %q, listeners %+v", c.LogDirs, c.ClusterID, c.Listeners)
	}
	for _, name := range []string{"KAFKA_HEAP_OPTS", "KAFKA_SERVICE_HOST", "zookeeper.connect"} {
		if _, ok := warned(c, name); !ok {
			t.Errorf("no line about %s in %v", name, c.Warnings)
		}
	}
	for name, want := range map[string]string{"KAFKA_A_B": "a.b", "KAFKA_A__B": "a_b", "KAFKA_A___B_C": "a-b.c"} {
		if got := environmentKey(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// TestRefused lists settings that do not start, each with words that the message must have.
func TestRefused(t *testing.T) {
	cases := []struct {
		file string
		set  []string
		want []string
	}{
		{file: "num.partitons=3", want: []string{"server.properties line 1", `"num.partitons"`, `did you mean "num.partitions"?`}},
		{set: []string{"foo.bar=1"}, want: []string{`unknown key "foo.bar"`, `the nearest known one is "`}},
		{set: []string{"log.dris=/x"}, want: []string{"--set", `did you mean "log.dirs"?`}},
		{set: []string{"retention.ms=5"}, want: []string{"a topic's key", "log.retention.ms"}},
		{set: []string{"xyzzy.plugh.frobnicate=5"}, want: []string{`unknown key "xyzzy.plugh.frobnicate"`}},
		{set: []string{"node.id"}, want: []string{"must be key=value"}},
		{file: "# c\nlog.segment.bytes=12", want: []string{"line 2", "log.segment.bytes=12", "from 1048576 to 2147483647"}},
		{file: "num.partitions=many", want: []string{"num.partitions=many", "whole number from 1"}},
		{file: "message.max.bytes=3000000000", want: []string{"message.max.bytes=3000000000", "2147483647"}},
		{file: "auto.create.topics.enable=yes", want: []string{"auto.create.topics.enable=yes", "true or false"}},
		{file: "log.cleaner.min.cleanable.ratio=1.5", want: []string{"from 0 to 1"}},
		{file: "log.cleanup.policy=delete,shred", want: []string{"one of compact, delete"}},
		{file: "compression.gzip.level=0", want: []string{"from 1 to 9, or -1"}},
		{file: "node.id=-3", want: []string{"node.id=-3", "from 0 to 2147483647"}},
		{file: "log.retention.ms=-5", want: []string{"log.retention.ms=-5", "from -1"}},
		{file: "log.cleaner.min.compaction.lag.ms=9\nlog.cleaner.max.compaction.lag.ms=8", want: []string{"log.cleaner.min.compaction.lag.ms=9", "at most", "(8)"}},
		{file: "queued.max.request.bytes=5", want: []string{"queued.max.request.bytes=5", "104857600"}},
		{file: "max.connections=0", want: []string{"max.connections=0", "from 1"}},
		{file: "max.connections.per.ip=0", want: []string{"max.connections.per.ip=0", "from 1"}},
		{file: "log.dirs=", want: []string{"log.dirs=", "at least one folder"}},
		{file: "log.dirs=/a,/a", want: []string{"different folders"}},
		{file: "listeners=", want: []string{"listeners=", "at least one listener"}},
		{file: "listeners=localhost:9092", want: []string{"NAME://host:port"}},
		{file: "listeners=PLAINTEXT://h:70000", want: []string{"port from 0 to 65535"}},
		{file: "listeners=SSL://127.0.0.1:9092", want: []string{"SSL", "not supported yet", "accepted: PLAINTEXT"}},
		{file: "listeners=INSIDE://127.0.0.1:9092", want: []string{"INSIDE", "listener.security.protocol.map"}},
		{file: "listeners=PLAINTEXT://a:1,PLAINTEXT://b:2", want: []string{"PLAINTEXT occurs twice"}},
		{file: "listeners=PLAINTEXT://0.0.0.0:9092", want: []string{"advertised.listeners", "0.0.0.0"}},
		{file: "advertised.listeners=OTHER://a:1", want: []string{"OTHER is not one of listeners"}},
		{file: "process.roles=controller", want: []string{"process.roles=controller", "accepted"}},
		{file: "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", want: []string{"authorizer.class.name", "not be safe"}},
		{file: "inter.broker.listener.name=NOPE", want: []string{"inter.broker.listener.name=NOPE"}},
		{file: "admin.listener=9644", want: []string{"admin.listener=9644", "host:port"}},
		{file: "cluster.id=a b", want: []string{"cluster.id=a b"}},
		{file: `node.id=\u12`, want: []string{"line 1", `\u12`}},
	}
	for _, c := range cases {
		_, err := load(c.file, nil, c.set)
		if err == nil {
			t.Errorf("%q %q started", c.file, c.set)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q %q: %q does not say %q", c.file, c.set, err, want)
			}
		}
	}
}

func TestAllErrorsAtOnce(t *testing.T) {
	_, err := load("num.partitions=0\nbackground.thread=3\nmessage.max.bytes=x", nil, []string{"nod.id=1"})
	for _, want := range []string{"num.partitions=0", "background.thread", "message.max.bytes=x", "nod.id"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

func TestUnreadableFile(t *testing.T) {
	missing := errors.New("no such file")
	_, err := Load(Input{File: "x", ReadFile: func(string) ([]byte, error) { return nil, missing }})
	if !errors.Is(err, missing) {
		t.Errorf("got %v", err)
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	c := mustLoad(t, "ssl.keystore.password=hunter2", nil, nil)
	for _, d := range c.DescribeBroker() {
		if d.Value != nil && strings.Contains(*d.Value, "hunter2") {
			t.Errorf("%s shows the password", d.Key.Name)
		}
		if d.Key.Name == "ssl.keystore.password" && (!d.Sensitive || d.Source != StaticBroker) {
			t.Errorf("%+v", d)
		}
	}
	if text := fmt.Sprint(c.Warnings); strings.Contains(text, "hunter2") {
		t.Errorf("warnings show the password: %s", text)
	}
}

func TestEphemeralPortsAndSeveralListeners(t *testing.T) {
	c := mustLoad(t, "listeners=PLAINTEXT://127.0.0.1:0,INSIDE://[::1]:0\nlistener.security.protocol.map=PLAINTEXT:PLAINTEXT,INSIDE:PLAINTEXT\nadmin.listener=127.0.0.1:0", nil, nil)
	if len(c.Listeners) != 2 || c.Listeners[1].Address() != "[::1]:0" || c.Listeners[1].AdvertisedPort != 0 || c.AdminMayMove {
		t.Errorf("listeners %+v, admin may move %v", c.Listeners, c.AdminMayMove)
	}
	c = mustLoad(t, "listeners=PLAINTEXT://:9092", nil, nil)
	if c.Listeners[0].AdvertisedHost != "box.example" {
		t.Errorf("advertised host %q, want this machine's name", c.Listeners[0].AdvertisedHost)
	}
}

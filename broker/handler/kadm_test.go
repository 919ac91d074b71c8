package handler_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/brokertest"
)

// TestAdminClient: franz-go's admin client does what an operator does in an afternoon.
func TestAdminClient(t *testing.T) {
	b := brokertest.Start(t)
	a, ctx := kadm.NewClient(b.Client()), b.Context()
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	_, err := a.CreateTopic(ctx, 2, 1, map[string]*string{"retention.ms": kadm.StringPtr("1000000")}, "t")
	check("create topic", err)
	altered, err := a.AlterTopicConfigs(ctx, []kadm.AlterConfig{
		{Op: kadm.SetConfig, Name: "segment.bytes", Value: kadm.StringPtr("1048576")},
		{Op: kadm.DeleteConfig, Name: "retention.ms"},
		{Op: kadm.AppendConfig, Name: "cleanup.policy", Value: kadm.StringPtr("compact")},
	}, "t")
	check("alter topic", err)
	for _, r := range altered {
		check(r.Name, r.Err)
	}
	if got := topicOverrides(t, b, "t"); got != "cleanup.policy=delete,compact segment.bytes=1048576" {
		t.Errorf("the topic has %s", got)
	}
	brokers, err := a.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "log.retention.ms", Value: kadm.StringPtr("5000")}})
	check("alter brokers", err)
	for _, r := range brokers {
		check("alter brokers", r.Err)
	}
	described, err := a.DescribeBrokerConfigs(ctx, 1)
	check("describe broker", err)
	for _, c := range described[0].Configs {
		if c.Key == "log.retention.ms" && (c.MaybeValue() != "5000" || c.Source != kmsg.ConfigSourceDynamicDefaultBrokerConfig) {
			t.Errorf("%+v", c)
		}
	}
	grown, err := a.CreatePartitions(ctx, 3, "t")
	check("create partitions", err)
	check("create partitions", grown.Error())
	cl := b.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for range 5 {
		check("produce", cl.ProduceSync(ctx, &kgo.Record{Topic: "t", Key: []byte("k"), Value: []byte("v")}).FirstErr())
	}
	var offsets kadm.Offsets
	offsets.AddOffset("t", 0, 3, -1)
	deleted, err := a.DeleteRecords(ctx, offsets)
	check("delete records", err)
	check("delete records", deleted.Error())
	if r, _ := deleted.Lookup("t", 0); r.LowWatermark != 3 {
		t.Errorf("%+v", r)
	}
	dirs, err := a.DescribeAllLogDirs(ctx, nil)
	check("log dirs", err)
	if d, ok := dirs[1].Lookup(b.Config().LogDirs[0], "t", 2); !ok || d.Size != 0 {
		t.Errorf("log dirs: %+v, %v", d, ok)
	}
	acls, err := a.DescribeACLs(ctx, kadm.NewACLs().AnyResource().Allow().AllowHosts().Operations())
	if err != nil || len(acls) == 0 || acls[0].Err != kerr.SecurityDisabled {
		t.Errorf("ACLs: %v %+v", err, acls)
	}
	cluster, err := a.Metadata(ctx, "t")
	check("metadata", err)
	if cluster.Controller != 1 || len(cluster.Topics["t"].Partitions) != 5 {
		t.Errorf("%+v", cluster)
	}
	if r, err := a.ValidateAlterTopicConfigs(ctx, []kadm.AlterConfig{{Name: "nonsense", Value: kadm.StringPtr("1")}}, "t"); err != nil || r[0].Err != kerr.InvalidConfig {
		t.Errorf("nonsense: %v %+v", err, r)
	}
}

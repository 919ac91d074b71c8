package config

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Dynamic is what AlterConfigs has set for brokers. A key of Broker goes before one of Cluster, and both before what Load read.
type Dynamic struct {
	Cluster map[string]string // for all brokers: the resource ""
	Broker  map[string]string // for this one
}

// DynamicError is a broker key that cannot be set at run time, or not to that value.
type DynamicError struct {
	Key, Value string
	Unknown    bool // there is no such key
	Problem    string
}

// Error names the key, and the value where it may be shown.
func (e *DynamicError) Error() string {
	if k, ok := Lookup(e.Key); !ok || k.Type == Password || e.Value == "" {
		return fmt.Sprintf("%s: %s", e.Key, e.Problem)
	}
	return fmt.Sprintf("%s=%s: %s", e.Key, e.Value, e.Problem)
}

// With lays d over what Load read, in place of any earlier Dynamic; c stays as it is. Errors: *DynamicError; every key is
// checked by itself and together with the others.
func (c *Config) With(d Dynamic) (*Config, error) {
	values := maps.Clone(c.static)
	for _, layer := range []struct {
		set    map[string]string
		origin Origin
	}{{d.Cluster, FromCluster}, {d.Broker, FromBroker}} {
		for _, name := range slices.Sorted(maps.Keys(layer.set)) {
			text := layer.set[name]
			if err := checkDynamic(name, text, layer.origin == FromBroker); err != nil {
				return nil, err
			}
			values[name] = value{text, layer.origin, "dynamic"}
		}
	}
	l := &loader{values: values}
	n := *c
	n.values, n.dynamic, n.Warnings = values, d, nil
	network := l.network()
	if _, set := n.dynamicValue("max.connections"); set { // else it may have been lowered for want of files
		n.Network.ConnectionsMax = min(network.ConnectionsMax, c.Network.connectionsCap())
	}
	n.Network.ConnectionsPerIPMax = network.ConnectionsPerIPMax
	n.ProducerIDExpiration = milliseconds(l.integer("producer.id.expiration.ms"))
	n.Cleaner = l.cleaner()
	l.topicDefaults(&n)
	if err := errors.Join(l.errs...); err != nil {
		return nil, &DynamicError{Key: "dynamic configuration", Problem: err.Error()}
	}
	return &n, nil
}

func (c *Config) dynamicValue(name string) (text string, ok bool) {
	if text, ok = c.dynamic.Broker[name]; !ok {
		text, ok = c.dynamic.Cluster[name]
	}
	return text, ok
}

// connectionsCap is what max.connections may be raised to.
func (n *Network) connectionsCap() int {
	if n.ConnectionsCap > 0 {
		return n.ConnectionsCap
	}
	return math.MaxInt32
}

// checkDynamic says whether a broker key may be set at run time. Source: Kafka DynamicBrokerConfig.validate; Kafka keeps keys
// that it does not know, for plugins, of which there are none here.
func checkDynamic(name, text string, perBroker bool) error {
	k, ok := Lookup(name)
	switch {
	case !ok:
		problem := "unknown broker config name"
		if near := nearest(name, brokerTable.names); near != "" {
			problem += fmt.Sprintf("; did you mean %q?", near)
		}
		return &DynamicError{Key: name, Unknown: true, Problem: problem}
	case !k.Dynamic:
		return &DynamicError{Key: name, Problem: fmt.Sprintf("Cannot update these configs dynamically: Set(%s)", name)}
	case perBroker && keyStoreKey(name):
		return &DynamicError{Key: name, Problem: fmt.Sprintf("These security configs can be dynamically updated only per-listener using the listener prefix: Set(%s)", name)}
	case !perBroker && perBrokerOnly(name):
		return &DynamicError{Key: name, Problem: fmt.Sprintf("Cannot update these configs at default cluster level: Set(%s)", name)}
	}
	if err := k.Check(text); err != nil {
		return &DynamicError{Key: name, Value: text, Problem: err.Error()}
	}
	if name == "log.cleaner.threads" && strings.TrimSpace(text) == "0" { // Source: LogCleaner.validateReconfiguration
		return &DynamicError{Key: name, Value: text, Problem: "must be at least 1 when it is changed at run time"}
	}
	if k.Effect == Refused && !k.sameValue(text, k.Default) {
		return &DynamicError{Key: name, Value: text, Problem: "is not supported, and to go on without it would not be safe; accepted: leave it out"}
	}
	return nil
}

// perBrokerOnly says whether a key may differ from broker to broker only. Source: Kafka DynamicBrokerConfig.PER_BROKER_CONFIGS.
func perBrokerOnly(name string) bool {
	switch name {
	case "cordoned.log.dirs", "principal.builder.class", "sasl.enabled.mechanisms", "sasl.jaas.config":
		return true
	}
	return strings.HasPrefix(name, "ssl.") || strings.HasPrefix(name, "sasl.kerberos.") || strings.HasPrefix(name, "sasl.login.")
}

// keyStoreKey says whether a key belongs to a listener. Source: Kafka SslConfigs.RECONFIGURABLE_CONFIGS.
func keyStoreKey(name string) bool {
	return strings.HasPrefix(name, "ssl.keystore.") || strings.HasPrefix(name, "ssl.truststore.") || name == "ssl.key.password"
}

// Ineffective lists the keys of a topic's or broker's changed configuration that do nothing here, sorted: they are to be warned
// of.
func Ineffective(names []string, lookup func(string) (*Key, bool)) []string {
	var out []string
	for _, name := range names {
		if k, ok := lookup(name); ok && k.Effect != Honoured {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

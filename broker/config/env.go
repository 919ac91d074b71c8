package config

import "strings"

const environmentPrefix = "KAFKA_"

// environment takes KAFKA_LOG_DIRS for log.dirs, as the Kafka images do, and CLUSTER_ID for the cluster id. A variable that
// names no key is ignored, because other programs use the prefix too (Kubernetes sets KAFKA_SERVICE_HOST for a service of that
// name).
func (l *loader) environment(environment []string) {
	layer := map[string]value{}
	for _, entry := range environment {
		name, text, ok := strings.Cut(entry, "=")
		if !ok {
			continue
		}
		if name == "CLUSTER_ID" && text != "" {
			layer["cluster.id"] = value{text, FromEnvironment, "environment CLUSTER_ID"}
		}
		if !strings.HasPrefix(name, environmentPrefix) {
			continue
		}
		if jvmVariables[name] {
			l.jvm = append(l.jvm, name)
			continue
		}
		key := environmentKey(name)
		if _, known := Lookup(key); known || hasOpenPrefix(key) {
			layer[key] = value{text, FromEnvironment, "environment " + name}
		} else {
			l.ignored = append(l.ignored, name)
		}
	}
	l.merge(layer)
}

// environmentKey turns KAFKA_A_B__C___D into a.b_c-d. Keys with capital letters (zookeeper.clientCnxnSocket) cannot be written
// this way, in the Kafka images neither.
func environmentKey(name string) string {
	key := strings.ToLower(strings.TrimPrefix(name, environmentPrefix))
	return strings.NewReplacer("___", "-", "__", "_", "_", ".").Replace(key)
}

package controller

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/broker/config"
)

// setConfigsLocked changes the configs of a resource.
func (m *machine) setConfigsLocked(c setConfigs) (any, func()) {
	if node, ok := strings.CutPrefix(c.Resource, brokerResourcePrefix); ok {
		return m.setBrokerConfigsLocked(node, c)
	}
	text, ok := strings.CutPrefix(c.Resource, topicResourcePrefix)
	id, err := uuid.Parse(text)
	if !ok || err != nil {
		return fmt.Errorf("%w: configs of resource %q", errCommand, c.Resource), nil
	}
	old, ok := m.mu.byID[id]
	if !ok {
		return refuse(ErrUnknownTopic, "This server does not host this topic-partition."), nil
	}
	if err := m.mu.site.refusal(); err != nil {
		return err, nil
	}
	t := m.setTopicConfigsLocked(old, changed(old.Configs, c.Changes), m.changedLocked())
	return nil, func() { m.life.configure(t) }
}

func (m *machine) setTopicConfigsLocked(old *Topic, configs map[string]string, v Version) *Topic {
	t := *old
	t.Configs, t.changed = configs, v
	t.Config = m.parse(t.Name, t.Configs)
	m.mu.topics[t.Name], m.mu.byID[t.ID] = &t, &t
	m.writeJSONLocked(bucketConfigs, configKey(t.ID), t.Configs)
	m.image.Store(nil)
	return &t
}

func (m *machine) setBrokerConfigsLocked(node string, c setConfigs) (any, func()) {
	if _, err := strconv.ParseInt(node, 10, 32); err != nil && node != "" {
		return fmt.Errorf("%w: configs of resource %q", errCommand, c.Resource), nil
	}
	if c.Resource == clusterResource { // those of one broker are this site's own
		if err := m.mu.site.refusal(); err != nil {
			return err, nil
		}
		m.mu.version.N++
		m.mu.clusterChanged = m.mu.version
	}
	act := m.putBrokerConfigsLocked(c.Resource, changed(m.mu.configs[c.Resource], c.Changes))
	return nil, act
}

// putBrokerConfigsLocked replaces the configs of a broker resource.
func (m *machine) putBrokerConfigsLocked(resource string, configs map[string]string) (act func()) {
	m.mu.configs[resource] = configs
	if len(configs) > 0 {
		m.writeJSONLocked(bucketConfigs, []byte(resource), configs)
	} else {
		delete(m.mu.configs, resource)
		m.writeLocked(bucketConfigs, []byte(resource), nil)
	}
	if resource != clusterResource && resource != brokerResource(m.node) {
		return nil
	}
	m.reconfigureLocked()
	cfg := m.config.Load()
	topics := make([]*Topic, 0, len(m.mu.topics))
	for _, old := range m.mu.topics { // their defaults may have changed
		t := *old
		t.Config = m.parse(t.Name, t.Configs)
		m.mu.topics[t.Name], m.mu.byID[t.ID] = &t, &t
		topics = append(topics, &t)
	}
	m.image.Store(nil)
	return func() {
		m.onConfig(cfg)
		for _, t := range topics {
			m.life.configure(t)
		}
	}
}

// reconfigureLocked makes the broker's configuration anew. What was accepted when it was set may not be any more, by another
// version or another file: the broker then lives on without any of it.
func (m *machine) reconfigureLocked() {
	d := config.Dynamic{Cluster: m.mu.configs[clusterResource], Broker: m.mu.configs[brokerResource(m.node)]}
	cfg, err := m.base.With(d)
	if err != nil {
		m.logger.Error("broker configs are not accepted, the file's apply", "error", err)
		cfg = m.base
	}
	m.config.Store(cfg)
}

// brokerConfigs copies what was set for a broker resource.
func (m *machine) brokerConfigs(resource string) map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.mu.configs[resource])
}

// changed applies a command's changes to a copy.
func changed(configs map[string]string, changes map[string]*string) map[string]string {
	out := maps.Clone(configs)
	if out == nil {
		out = map[string]string{}
	}
	for name, value := range changes {
		if value == nil {
			delete(out, name)
		} else {
			out[name] = *value
		}
	}
	return out
}

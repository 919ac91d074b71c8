package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Origin says where a value came from, lowest precedence first.
type Origin uint8

// The origins, lowest precedence first.
const (
	FromDefault Origin = iota
	FromFile
	FromEnvironment
	FromFlag
	FromCluster // set by AlterConfigs for all brokers
	FromBroker  // set by AlterConfigs for this broker
)

// Input is what Load reads. It is not changed.
type Input struct {
	// File is the path of a server.properties file; empty = none.
	File string
	// ReadFile reads File (os.ReadFile); required when File is set.
	ReadFile func(path string) ([]byte, error)
	// Environment holds NAME=value strings (os.Environ).
	Environment []string
	// Set holds the key=value arguments of --set, in order; a later one wins.
	Set []string
	// Hostname is the name that is advertised for a listener on all interfaces (os.Hostname). Nil: such a listener needs an
	// entry in advertised.listeners.
	Hostname func() (string, error)
}

// Warning is one line for the log at start.
type Warning struct {
	Message string
	Keys    []string // the keys or variables that it is about, sorted
}

// value is what a key was set to, and how to name the place in a message.
type value struct {
	text   string
	origin Origin
	place  string
}

// loader collects values layer by layer, and everything that is wrong with them: a start that fails lists all errors at once.
type loader struct {
	values   map[string]value
	errs     []error
	ignored  []string // KAFKA_* variables that name no key
	jvm      []string // variables of Kafka's start scripts
	warnings []Warning
}

// Load puts the sources together, checks every value and returns the typed configuration. The error joins one line for each
// thing that is wrong, each naming the key, the value, where it stands, and what would be accepted.
func Load(in Input) (*Config, error) {
	l := &loader{values: map[string]value{}}
	if in.File != "" {
		if err := l.file(in); err != nil {
			return nil, err
		}
	}
	l.environment(in.Environment)
	l.flags(in.Set)
	l.check()
	if err := errors.Join(l.errs...); err != nil {
		return nil, err
	}
	l.warnIneffective()
	c := l.build(in.Hostname)
	if err := errors.Join(l.errs...); err != nil {
		return nil, err
	}
	c.Warnings = l.warnings
	return c, nil
}

func (l *loader) file(in Input) error {
	data, err := in.ReadFile(in.File)
	if err != nil {
		return fmt.Errorf("configuration file: %w", err)
	}
	properties, err := parseProperties(string(data))
	if err != nil {
		return fmt.Errorf("configuration file %s: %w", in.File, err)
	}
	layer := map[string]value{}
	for _, p := range properties {
		place := fmt.Sprintf("%s line %d", in.File, p.line)
		if l.known(p.key, place) {
			layer[p.key] = value{p.value, FromFile, place}
		}
	}
	l.merge(layer)
	return nil
}

func (l *loader) flags(set []string) {
	layer := map[string]value{}
	for _, arg := range set {
		key, text, ok := strings.Cut(arg, "=")
		key = strings.TrimSpace(key)
		if !ok || key == "" {
			l.errs = append(l.errs, fmt.Errorf("--set %s: must be key=value", arg))
			continue
		}
		if l.known(key, "--set") {
			layer[key] = value{text, FromFlag, "--set"}
		}
	}
	l.merge(layer)
}

// known tells whether key may be set, and records an error that names the nearest key otherwise.
func (l *loader) known(key, place string) bool {
	if _, ok := Lookup(key); ok || hasOpenPrefix(key) {
		return true
	}
	text := fmt.Sprintf("%s: unknown key %q", place, key)
	if _, isTopic := LookupTopic(key); isTopic {
		synonym := topicTable.byName[key].Synonyms
		text += ": it is a topic's key"
		if len(synonym) > 0 {
			text += fmt.Sprintf("; its default for all topics is set by %q", synonym[0].Name)
		}
	} else if near := nearest(key, brokerTable.names); near != "" {
		text += fmt.Sprintf("; did you mean %q?", near)
	} else {
		text += fmt.Sprintf("; the nearest known one is %q", closest(key, brokerTable.names, math.MaxInt))
	}
	l.errs = append(l.errs, errors.New(text))
	return false
}

func hasOpenPrefix(key string) bool {
	return slices.ContainsFunc(openPrefixes, func(p string) bool { return strings.HasPrefix(key, p) && len(key) > len(p) })
}

// merge lays a source over those before. A key of a family replaces the other members' values of lower sources, so that
// --set log.retention.hours=1 is not silently outvoted by a log.retention.ms in the file.
func (l *loader) merge(layer map[string]value) {
	for _, family := range families {
		if slices.ContainsFunc(family, func(name string) bool { _, ok := layer[name]; return ok }) {
			for _, name := range family {
				delete(l.values, name)
			}
		}
	}
	for key, v := range layer {
		l.values[key] = v
	}
}

// check validates each value that was set by itself.
func (l *loader) check() {
	for _, name := range brokerTable.names {
		v, ok := l.values[name]
		if !ok {
			continue
		}
		k := brokerTable.byName[name]
		if k.Null && strings.TrimSpace(v.text) == "" {
			delete(l.values, name) // "key=" of a key without a default: not set
			continue
		}
		if k.Effect == Meaningless {
			continue
		}
		if err := k.Check(v.text); err != nil {
			l.fail(name, "%s", err)
		} else if k.Effect == Refused && !k.sameValue(v.text, k.Default) {
			l.fail(name, "is not supported, and to go on without it would not be safe; accepted: leave it out")
		}
	}
}

// fail records what is wrong with the value of a key.
func (l *loader) fail(name, format string, args ...any) {
	k := brokerTable.byName[name]
	shown, place := k.Default, "default"
	if v, ok := l.values[name]; ok {
		shown, place = v.text, v.place
	}
	if k.Type == Password {
		shown = "[hidden]"
	}
	l.errs = append(l.errs, fmt.Errorf("%s: %s=%s: %s", place, name, shown, fmt.Sprintf(format, args...)))
}

// warnIneffective makes one line of all keys that mean nothing here, and one of those that Tandem does not support.
func (l *loader) warnIneffective() {
	var meaningless, unsupported []string
	for name, v := range l.values {
		k, ok := Lookup(name)
		switch {
		case !ok && l.siteSecurityKey(name):
		case !ok:
			unsupported = append(unsupported, name)
		case k.Effect == Meaningless && (k.Null || !k.sameValue(v.text, k.Default)):
			meaningless = append(meaningless, name)
		case k.Effect == Unsupported && (k.Null || !k.sameValue(v.text, k.Default)):
			unsupported = append(unsupported, name)
		}
	}
	l.warn("these Kafka settings have no meaning here and are ignored", append(meaningless, l.jvm...))
	l.warn("these Kafka settings are not supported and are ignored", unsupported)
	l.warn("these environment variables name no setting and are ignored", l.ignored)
}

func (l *loader) warn(message string, keys []string) {
	if len(keys) > 0 {
		slices.Sort(keys)
		l.warnings = append(l.warnings, Warning{message, keys})
	}
}

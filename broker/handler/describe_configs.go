package handler

// DescribeConfigs (key 32), versions 1 to 4.
//
//	1  source and synonyms       3  type and documentation       4  flexible
//
// Topics, this broker by its own id, and the broker "" for what AlterConfigs has set for all brokers. Loggers: there are none.
// Groups and client metrics are INVALID_REQUEST. No names, or null, means all of them.

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/config"
	"github.com/tandembroker/tandem/broker/controller"
)

const (
	describeConfigsVersionType = 3

	// describeBytesMax bounds an answer: a small request could otherwise ask for the whole list hundreds of thousands of times.
	describeBytesMax = 64 << 20
)

func (h *Handler) describeConfigs(_ context.Context, c call[*kmsg.DescribeConfigsRequest]) kmsg.Response {
	resp := kmsg.NewPtrDescribeConfigsResponse()
	unexpected := slices.ContainsFunc(c.req.Resources, func(r kmsg.DescribeConfigsRequestResource) bool { return !knownResource(r.ResourceType) })
	bytes := 0
	for _, r := range c.req.Resources {
		out := kmsg.NewDescribeConfigsResponseResource()
		out.ResourceType, out.ResourceName = r.ResourceType, r.ResourceName
		out.Configs = []kmsg.DescribeConfigsResponseResourceConfig{}
		var described []config.Described
		var code int16
		var message string
		switch { // what is not answered is not looked up either: that is most of the work
		case unexpected: // Kafka refuses the whole request then
			code, message = codeInvalidRequest, "Unexpected resource type"
		case bytes > describeBytesMax:
			code, message = codePolicyViolation, "The answer is too large. Ask for fewer resources at a time."
		default:
			described, code, message = h.describeResource(r.ResourceType, r.ResourceName)
		}
		out.ErrorCode, out.ErrorMessage = h.fail("DescribeConfigs", code), text(message) // never null, as in Kafka
		wanted := make(map[string]struct{}, len(r.ConfigNames))
		for _, name := range r.ConfigNames {
			wanted[name] = struct{}{}
		}
		for i := range described {
			if _, ok := wanted[described[i].Key.Name]; ok || len(wanted) == 0 {
				out.Configs = append(out.Configs, describedConfig(&described[i], c))
				bytes += sizeOf(&out.Configs[len(out.Configs)-1])
			}
		}
		resp.Resources = append(resp.Resources, out)
	}
	return resp
}

// knownResource says whether Kafka knows the kind of resource.
func knownResource(kind kmsg.ConfigResourceType) bool {
	switch kind {
	case kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeBroker, kmsg.ConfigResourceTypeBrokerLogger,
		kmsg.ConfigResourceTypeClientMetrics, kmsg.ConfigResourceTypeGroupConfig:
		return true
	}
	return false
}

// describeResource finds the configs of a resource. Source: ConfigHelper.describeConfigs.
func (h *Handler) describeResource(kind kmsg.ConfigResourceType, name string) (described []config.Described, code int16, message string) {
	switch kind {
	case kmsg.ConfigResourceTypeTopic:
		if err := controller.CheckName(name); err != nil {
			return nil, codeInvalidTopic, err.Error()
		}
		t, ok := h.controller.Image().Topic(name)
		if !ok {
			return nil, codeUnknownTopicOrPartition, "" // Kafka has no message for this one
		}
		return h.controller.Config().DescribeTopic(t.Configs), codeNone, ""
	case kmsg.ConfigResourceTypeBroker:
		if name == "" {
			return h.controller.Config().DescribeCluster(), codeNone, ""
		}
		id, err := strconv.ParseInt(name, 10, 32)
		if err != nil {
			return nil, codeInvalidRequest, "Broker id must be an integer, but it is: " + clip(name)
		}
		if int32(id) != h.identity.NodeID {
			return nil, codeInvalidRequest, fmt.Sprintf("Unexpected broker id, expected %d or empty string, but received %s", h.identity.NodeID, clip(name))
		}
		return h.controller.Config().DescribeBroker(), codeNone, ""
	case kmsg.ConfigResourceTypeBrokerLogger:
		id, err := strconv.ParseInt(name, 10, 32)
		switch {
		case name == "":
			return nil, codeInvalidRequest, "Broker id must not be empty"
		case err != nil:
			return nil, codeInvalidRequest, "Broker id must be an integer, but it is: " + clip(name)
		case int32(id) != h.identity.NodeID:
			return nil, codeInvalidRequest, fmt.Sprintf("Unexpected broker id, expected %d but received %s", h.identity.NodeID, clip(name))
		}
		return nil, codeNone, ""
	}
	return nil, codeInvalidRequest, fmt.Sprintf("Unsupported resource type: %d", kind)
}

func describedConfig(d *config.Described, c call[*kmsg.DescribeConfigsRequest]) kmsg.DescribeConfigsResponseResourceConfig {
	out := kmsg.NewDescribeConfigsResponseResourceConfig()
	out.Name, out.Value, out.ReadOnly, out.IsSensitive = d.Key.Name, d.Value, d.ReadOnly, d.Sensitive
	out.Source = kmsg.ConfigSource(d.Source)
	out.ConfigSynonyms = []kmsg.DescribeConfigsResponseResourceConfigConfigSynonym{}
	if c.req.IncludeSynonyms {
		for _, s := range d.Synonyms {
			synonym := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
			synonym.Name, synonym.Value, synonym.Source = s.Name, s.Value, kmsg.ConfigSource(s.Source)
			out.ConfigSynonyms = append(out.ConfigSynonyms, synonym)
		}
	}
	if c.version >= describeConfigsVersionType {
		out.ConfigType = kmsg.ConfigType(d.Key.Type)
		if c.req.IncludeDocumentation {
			out.Documentation = text(d.Key.Doc)
		}
	}
	return out
}

// sizeOf is about what a config takes in memory until it is sent.
func sizeOf(c *kmsg.DescribeConfigsResponseResourceConfig) int {
	const each, eachSynonym = 256, 96
	n := each + len(c.Name) + len(deref(c.Value)) + len(deref(c.Documentation))
	for _, s := range c.ConfigSynonyms {
		n += eachSynonym + len(s.Name) + len(deref(s.Value))
	}
	return n
}

// clip keeps what a client sent from coming back at length.
func clip(s string) string {
	const charsMax = 64
	if len(s) > charsMax {
		return s[:charsMax] + "..."
	}
	return s
}

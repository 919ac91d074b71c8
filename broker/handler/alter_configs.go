package handler

// AlterConfigs (key 33), versions 0 to 2: a resource has what is named and nothing else.     2 flexible
// IncrementalAlterConfigs (key 44), versions 0 and 1: set, delete, append, subtract (KIP-339). 1 flexible
//
// Topics, this broker by its own id, and the broker "" for the defaults of all brokers. Loggers are known to IncrementalAlterConfigs
// only, and there are none, as on a Kafka broker without log4j. Groups and client metrics have no configs here: INVALID_REQUEST,
// as for a kind of resource that nobody knows. Each resource changes as a whole, or not at all, and is answered by itself.

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/controller"
)

// alterTimeout is how long a change of configs may take; the requests name no time. Source: request.timeout.ms of Kafka's tools.
const alterTimeout = 30 * time.Second

// alteration is one resource of a request; refused is why it does not get as far as the controller.
type alteration struct {
	kind    kmsg.ConfigResourceType
	name    string
	change  controller.Alteration
	code    int16
	message string
}

func (h *Handler) alterConfigs(ctx context.Context, c call[*kmsg.AlterConfigsRequest]) kmsg.Response {
	list := make([]alteration, len(c.req.Resources))
	for i := range c.req.Resources {
		r := &c.req.Resources[i]
		list[i] = alteration{kind: r.ResourceType, name: r.ResourceName, change: controller.Alteration{Replace: true}}
		for _, entry := range r.Configs {
			list[i].change.Configs = append(list[i].change.Configs, controller.AlterConfig{Name: entry.Name, Value: entry.Value})
		}
		list[i].target()
	}
	h.alter(ctx, "AlterConfigs", list, c.req.ValidateOnly)
	resp := kmsg.NewPtrAlterConfigsResponse()
	for i := range list {
		out := kmsg.NewAlterConfigsResponseResource()
		out.ResourceType, out.ResourceName, out.ErrorCode, out.ErrorMessage = list[i].kind, list[i].name, list[i].code, list[i].text()
		resp.Resources = append(resp.Resources, out)
	}
	return resp
}

func (h *Handler) incrementalAlterConfigs(ctx context.Context, c call[*kmsg.IncrementalAlterConfigsRequest]) kmsg.Response {
	list := make([]alteration, len(c.req.Resources))
	for i := range c.req.Resources {
		r := &c.req.Resources[i]
		list[i] = alteration{kind: r.ResourceType, name: r.ResourceName}
		for _, entry := range r.Configs {
			list[i].change.Configs = append(list[i].change.Configs, controller.AlterConfig{Name: entry.Name, Op: controller.ConfigOp(entry.Op), Value: entry.Value})
		}
		if r.ResourceType == kmsg.ConfigResourceTypeBrokerLogger {
			list[i].refuseLogger(h.identity.NodeID)
			continue
		}
		list[i].target()
	}
	h.alter(ctx, "IncrementalAlterConfigs", list, c.req.ValidateOnly)
	resp := kmsg.NewPtrIncrementalAlterConfigsResponse()
	for i := range list {
		out := kmsg.NewIncrementalAlterConfigsResponseResource()
		out.ResourceType, out.ResourceName, out.ErrorCode, out.ErrorMessage = list[i].kind, list[i].name, list[i].code, list[i].text()
		resp.Resources = append(resp.Resources, out)
	}
	return resp
}

// target says whose configs they are. Source: ConfigAdminManager.preprocess.
func (a *alteration) target() {
	switch a.kind {
	case kmsg.ConfigResourceTypeTopic:
		a.change.Resource = controller.Resource{Name: a.name}
	case kmsg.ConfigResourceTypeBroker:
		a.change.Resource = controller.Resource{Broker: true, Name: a.name}
	default:
		a.refuse(codeInvalidRequest, fmt.Sprintf("Unknown resource type %d", a.kind))
	}
}

// shared says that both sites have these configs: all but those of one broker.
func (a *alteration) shared() bool { return !a.change.Resource.Broker || a.change.Resource.Name == "" }

// logLevels are what a logger can be set to. Source: Kafka LogLevelConfig.VALID_LOG_LEVELS.
var logLevels = []string{"DEBUG", "ERROR", "FATAL", "INFO", "TRACE", "WARN"}

// refuseLogger answers for loggers, of which there are none. Source: RuntimeLoggerManager.validateLogLevelConfigs.
func (a *alteration) refuseLogger(node int32) {
	id, err := strconv.ParseInt(a.name, 10, 32)
	switch {
	case err != nil:
		a.refuse(codeInvalidRequest, "Node id must be an integer, but it is: "+clip(a.name))
		return
	case int32(id) != node:
		a.refuse(codeInvalidRequest, fmt.Sprintf("Unexpected broker id, expected %d, but received %s", node, clip(a.name)))
		return
	}
	if len(a.change.Configs) == 0 {
		return // nothing to do is done
	}
	switch entry := a.change.Configs[0]; {
	case entry.Op != controller.SetConfig && entry.Op != controller.DeleteConfig:
		a.refuse(codeInvalidRequest, fmt.Sprintf("%s operation is not allowed for the BROKER_LOGGER resource", entry.Op))
	case entry.Op == controller.SetConfig && !slices.Contains(logLevels, deref(entry.Value)):
		a.refuse(codeInvalidConfig, fmt.Sprintf("Cannot set the log level of %s to %s as it is not a supported log level. Valid log levels are %v",
			clip(entry.Name), clip(deref(entry.Value)), logLevels))
	default:
		a.refuse(codeInvalidConfig, fmt.Sprintf("Logger %s does not exist!", clip(entry.Name)))
	}
}

func (a *alteration) refuse(code int16, message string) { a.code, a.message = code, message }

// text is the message as the response wants it: nil = none.
func (a *alteration) text() *string {
	if a.message == "" {
		return nil
	}
	return &a.message
}

// alter hands what was not refused to the controller.
func (h *Handler) alter(ctx context.Context, api string, list []alteration, validateOnly bool) {
	ctx, cancel := context.WithTimeout(ctx, alterTimeout)
	defer cancel()
	refuseTwice(list)
	var changes []controller.Alteration
	var at []int
	for i := range list {
		switch {
		case list[i].code != codeNone || list[i].kind == kmsg.ConfigResourceTypeBrokerLogger:
		case list[i].shared() && !h.sites.serves():
			list[i].refuse(codeNotController, deref(messageOf(errNotActive)))
		default:
			changes, at = append(changes, list[i].change), append(at, i)
		}
	}
	for i, err := range h.controller.AlterConfigs(ctx, changes, validateOnly) {
		if err == nil && list[at[i]].shared() && !h.sites.mayAcknowledge() {
			err = errNotActive
		}
		if err != nil {
			list[at[i]].refuse(codeOf(err), deref(messageOf(err)))
		}
	}
	for i := range list {
		h.fail(api, list[i].code)
	}
}

// refuseTwice refuses resources that a request names more than once.
func refuseTwice(list []alteration) {
	type resource struct {
		kind kmsg.ConfigResourceType
		name string
	}
	seen := map[resource]int{}
	for i := range list {
		seen[resource{list[i].kind, list[i].name}]++
	}
	for i := range list {
		if seen[resource{list[i].kind, list[i].name}] > 1 {
			list[i].refuse(codeInvalidRequest, "Each resource must appear at most once.")
		}
	}
}

package handler

// DescribeCluster (key 60), versions 0 to 2.
//
//	1  the kind of endpoint: 1 brokers, 2 controllers; brokers do not answer for the latter
//	2  fenced brokers too, if asked for (KIP-1073): brokers do not register here, so that none is fenced

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	endpointBrokers     = 1
	endpointControllers = 2
)

func (h *Handler) describeCluster(_ context.Context, c call[*kmsg.DescribeClusterRequest]) kmsg.Response {
	resp := kmsg.NewPtrDescribeClusterResponse()
	if c.version >= 1 {
		switch c.req.EndpointType {
		case endpointBrokers:
		case endpointControllers:
			resp.ErrorCode = h.fail("DescribeCluster", codeMismatchedEndpointType)
			resp.ErrorMessage = text("The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER")
			return resp
		default:
			resp.ErrorCode = h.fail("DescribeCluster", codeUnsupportedEndpointType)
			resp.ErrorMessage = text(fmt.Sprintf("Unsupported endpoint type %d", c.req.EndpointType))
			return resp
		}
	}
	resp.ClusterID, resp.ControllerID = h.clusterID(), h.controllerID()
	for b := range h.brokers(c.listener) {
		out := kmsg.NewDescribeClusterResponseBroker()
		out.NodeID, out.Host, out.Port, out.Rack = b.node, b.host, b.port, b.rackPointer()
		resp.Brokers = append(resp.Brokers, out)
	}
	if c.req.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = clusterOperations
	}
	return resp
}

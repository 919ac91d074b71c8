package handler

// DescribeAcls, CreateAcls and DeleteAcls (keys 29, 30, 31), versions 1 to 3.
//
//	2  flexible       3  user resources (of SCRAM)
//
// There is no authorizer: SECURITY_DISABLED, in as many results as the request has entries, as Kafka without one answers. Source:
// AclApis, and getErrorResponse of each request.

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	noAuthorizer     = "No Authorizer is configured."
	noAuthorizerHere = "No Authorizer is configured on the broker" // what DescribeAcls says
)

func (h *Handler) describeACLs(context.Context, call[*kmsg.DescribeACLsRequest]) kmsg.Response {
	resp := kmsg.NewPtrDescribeACLsResponse()
	resp.ErrorCode, resp.ErrorMessage = h.fail("DescribeAcls", codeSecurityDisabled), text(noAuthorizerHere)
	return resp
}

func (h *Handler) createACLs(_ context.Context, c call[*kmsg.CreateACLsRequest]) kmsg.Response {
	resp := kmsg.NewPtrCreateACLsResponse()
	for range c.req.Creations {
		out := kmsg.NewCreateACLsResponseResult()
		out.ErrorCode, out.ErrorMessage = h.fail("CreateAcls", codeSecurityDisabled), text(noAuthorizer)
		resp.Results = append(resp.Results, out)
	}
	return resp
}

func (h *Handler) deleteACLs(_ context.Context, c call[*kmsg.DeleteACLsRequest]) kmsg.Response {
	resp := kmsg.NewPtrDeleteACLsResponse()
	for range c.req.Filters {
		out := kmsg.NewDeleteACLsResponseResult()
		out.ErrorCode, out.ErrorMessage = h.fail("DeleteAcls", codeSecurityDisabled), text(noAuthorizer)
		out.MatchingACLs = []kmsg.DeleteACLsResponseResultMatchingACL{}
		resp.Results = append(resp.Results, out)
	}
	return resp
}

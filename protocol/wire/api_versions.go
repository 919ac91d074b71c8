package wire

import (
	"regexp"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	errorUnsupportedVersion = 35
	errorInvalidRequest     = 42
)

// softwareName is what KIP-511 lets a client call itself.
var softwareName = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?$`)

// NewAPIVersionsResponse answers an ApiVersions request of any version: the whole table, without features (none are
// finalized yet). req is nil when version is not served, since its body must not be read; the answer is then the error with
// this API's own range, so that the client can ask again. The response's version, which AppendResponse is to be given, is
// resp.GetVersion(): 0 in that case (KIP-511).
func NewAPIVersionsResponse(version int16, req *kmsg.ApiVersionsRequest) *kmsg.ApiVersionsResponse {
	resp := kmsg.NewPtrApiVersionsResponse()
	if own, _ := Lookup(keyAPIVersions); !own.Serves(version) {
		resp.SetVersion(0)
		resp.ErrorCode = errorUnsupportedVersion
		resp.ApiKeys = append(resp.ApiKeys, versionRange(own))
		return resp
	}
	resp.SetVersion(version)
	if version >= 3 && (!softwareName.MatchString(req.ClientSoftwareName) || !softwareName.MatchString(req.ClientSoftwareVersion)) {
		resp.ErrorCode = errorInvalidRequest
		return resp
	}
	for _, api := range apis {
		resp.ApiKeys = append(resp.ApiKeys, versionRange(api))
	}
	return resp
}

func versionRange(api API) kmsg.ApiVersionsResponseApiKey {
	r := kmsg.NewApiVersionsResponseApiKey()
	r.ApiKey, r.MinVersion, r.MaxVersion = api.Key, api.Min, api.Max
	return r
}

package handler

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/server"
	"github.com/tandembroker/tandem/protocol/wire"
)

const keyProduce = 0

type handle func(h *Handler, ctx context.Context, r *server.Request) server.Reply

// dispatch has one line for each API of wire's tables.
var dispatch = map[int16]handle{
	keyProduce: (*Handler).produce,
	1:          (*Handler).fetch,
	2:          simple((*Handler).listOffsets),
	3:          simple((*Handler).metadata),
	8:          (*Handler).offsetCommit,
	9:          simple((*Handler).offsetFetch),
	10:         simple((*Handler).findCoordinator),
	11:         (*Handler).joinGroup,
	12:         simple((*Handler).heartbeat),
	13:         simple((*Handler).leaveGroup),
	14:         (*Handler).syncGroup,
	15:         simple((*Handler).describeGroups),
	16:         simple((*Handler).listGroups),
	17:         simple((*Handler).saslHandshake),
	18:         (*Handler).apiVersions,
	19:         simple((*Handler).createTopics),
	20:         simple((*Handler).deleteTopics),
	21:         simple((*Handler).deleteRecords),
	22:         (*Handler).initProducerIDOrClose,
	23:         simple((*Handler).offsetForLeaderEpoch),
	29:         simple((*Handler).describeACLs),
	30:         simple((*Handler).createACLs),
	31:         simple((*Handler).deleteACLs),
	32:         simple((*Handler).describeConfigs),
	33:         simple((*Handler).alterConfigs),
	35:         simple((*Handler).describeLogDirs),
	37:         simple((*Handler).createPartitions),
	42:         (*Handler).deleteGroups,
	44:         simple((*Handler).incrementalAlterConfigs),
	47:         (*Handler).offsetDelete,
	60:         simple((*Handler).describeCluster),
	75:         simple((*Handler).describeTopicPartitions),

	wire.KeyOperator: (*Handler).operator,
}

// call is a request as most handlers see it: decoded, with what they need of the rest.
type call[T kmsg.Request] struct {
	req      T
	version  int16
	clientID string
	listener string
}

// simple makes a handle of a function that takes one kind of request and returns its response, which is then sent as it is.
func simple[T kmsg.Request](fn func(h *Handler, ctx context.Context, c call[T]) kmsg.Response) handle {
	return func(h *Handler, ctx context.Context, r *server.Request) server.Reply {
		req := r.Body.(T) // wire decoded it by the same key
		c := call[T]{req: req, version: r.Header.Version, clientID: r.Header.ClientID, listener: r.Listener}
		return server.Respond(r.Header, fn(h, ctx, c))
	}
}

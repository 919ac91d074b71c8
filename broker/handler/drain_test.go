package handler

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/config"
	"github.com/tandembroker/tandem/broker/group"
	"github.com/tandembroker/tandem/broker/server"
)

// TestStopAnswers: when the server stops, who waits for the log gets the answer that is due soon, and who waits for other members
// is sent away.
func TestStopAnswers(t *testing.T) {
	const limit = 30 * time.Second
	o, m := &scriptedOffsets{}, &scriptedMembers{}
	h := offsetsHandler(o)
	h.members = m
	handled := make(chan struct{}, 2)
	s, err := server.Listen(server.Options{Listeners: []config.Listener{{Name: "X", Host: "127.0.0.1"}}})
	if err != nil {
		t.Fatal(err)
	}
	s.Serve(observed{h, handled})
	address := s.Addr("X").String()
	send := func(req kmsg.Request, version int16) net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(limit))
		req.SetVersion(version)
		if _, err := c.Write(kmsg.NewRequestFormatter().AppendRequest(nil, req, 1)); err != nil {
			t.Fatal(err)
		}
		<-handled
		return c
	}
	receive := func(c net.Conn, resp kmsg.Response, version int16) {
		t.Helper()
		var size [4]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			t.Fatal(err)
		}
		body := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(c, body); err != nil {
			t.Fatal(err)
		}
		resp.SetVersion(version)
		if err := resp.ReadFrom(body[4:]); err != nil {
			t.Fatal(err)
		}
	}
	deletes := send(&kmsg.DeleteGroupsRequest{Groups: []string{"g"}}, 1)
	joins := send(&kmsg.JoinGroupRequest{Group: "g", ProtocolType: "consumer"}, 5)

	stopped := make(chan error, 1)
	go func() { // ends with Shutdown, awaited below
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		stopped <- s.Shutdown(ctx)
	}()
	joined := &kmsg.JoinGroupResponse{}
	receive(joins, joined, 5) // so the server stops
	if joined.ErrorCode != codeOf(group.ErrRebalanceInProgress) {
		t.Errorf("JoinGroup: %+v", joined)
	}
	_ = deletes.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := deletes.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("answered before the log has: %v", err)
	}
	_ = deletes.SetReadDeadline(time.Now().Add(limit))
	o.deleted([]error{nil})
	gone := &kmsg.DeleteGroupsResponse{}
	receive(deletes, gone, 1)
	if len(gone.Groups) != 1 || gone.Groups[0].ErrorCode != 0 {
		t.Errorf("DeleteGroups: %+v", gone)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// observed says when a request has been handled.
type observed struct {
	*Handler
	handled chan<- struct{}
}

func (o observed) Handle(ctx context.Context, r *server.Request) server.Reply {
	defer func() { o.handled <- struct{}{} }()
	return o.Handler.Handle(ctx, r)
}

package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/tandembroker/tandem/replication/site"
)

const (
	versionMin, versionMax = 3, 4 // 1 had no metadata version in an append, 2 no incarnation in an ack
	versionBatches         = 4    // has flagBatches

	openingLen       = 8
	handshakeHeadLen = 40
	nameBytesMax     = 255
	nodesMax         = 1024
	dataMax          = 4 // data connections of a session
)

var magic = [4]byte{'T', 'S', 'L', '1'}

// PeerID names a broker of the other site.
type PeerID struct {
	Site string
	Node int32
}

func (p PeerID) String() string { return fmt.Sprintf("%s/%d", p.Site, p.Node) }

// Handshake is what a broker says of itself and its site when a connection opens.
type Handshake struct {
	ClusterID string // "" = takes that of the other side
	Site      string // at most 255 bytes
	SiteIndex uint8  // 0 to 3
	Role      site.Role
	SiteEpoch uint32
	Node      int32
	Nodes     []int32 // node ids of the site, beside Node; at most 1,024
	LevelMin  uint8   // format levels that the broker can do
	LevelMax  uint8
	Boot      site.Boot // random, one for each run
}

// ID is the name of the broker that said h.
func (h Handshake) ID() PeerID { return PeerID{h.Site, h.Node} }

// check says whether h fits into a handshake and is fit to be shown.
func (h *Handshake) check() error {
	if len(h.ClusterID) > nameBytesMax || len(h.Site) > nameBytesMax || len(h.Nodes) > nodesMax || h.SiteIndex >= site.Sites || h.Role > site.Active {
		return fmt.Errorf("%w: a handshake beyond its limits", errProtocol)
	}
	if h.Site == "" || showable(h.Site) != h.Site || showable(h.ClusterID) != h.ClusterID {
		return fmt.Errorf("%w: site name %q or cluster id %q cannot be shown", errProtocol, h.Site, h.ClusterID)
	}
	return nil
}

// showable is text of the other side as it may go to a log or a terminal.
func showable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return '?'
	}, text)
}

// hello is a handshake on one connection.
type hello struct {
	Handshake
	session uint64
	index   uint8 // 0 = control
	count   uint8 // data connections
	credit  uint64
}

// Code of a refusal (docs/formats.md section 11).
type Code uint16

const (
	CodeCluster   Code = 1
	CodeVersion   Code = 2
	CodeLevel     Code = 3
	CodeItself    Code = 4
	CodeNodes     Code = 5
	CodeSite      Code = 6
	CodeDuplicate Code = 7
	CodeSession   Code = 8
	CodeBusy      Code = 9
	CodeOther     Code = 10
)

// Refusal is why a handshake was turned down, by this side or by the other one.
type Refusal struct {
	Code Code
	Text string
	Peer bool // the other side refused
}

func (r *Refusal) Error() string {
	if r.Peer {
		return "transport: refused by the other side: " + r.Text
	}
	return "transport: refused: " + r.Text
}

func refuse(code Code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Text: fmt.Sprintf(format, args...)}
}

// duplicate says that err is about a session that is not needed, which is no fault of anybody.
func duplicate(err error) bool {
	var r *Refusal
	return errors.As(err, &r) && r.Code == CodeDuplicate
}

// appendHello writes the handshake's frame.
func appendHello(dst []byte, h *hello) []byte {
	return appendFrame(dst, kindHandshake, func(dst []byte) []byte {
		be := binary.BigEndian
		dst = be.AppendUint64(be.AppendUint64(dst, uint64(h.Boot)), h.session)
		dst = append(dst, h.index, h.count, h.LevelMin, h.LevelMax, h.SiteIndex, byte(h.Role), 0, 0)
		dst = be.AppendUint32(be.AppendUint32(dst, h.SiteEpoch), uint32(h.Node))
		dst = be.AppendUint64(dst, h.credit)
		for _, s := range [...]string{h.ClusterID, h.Site} {
			dst = append(be.AppendUint16(dst, uint16(len(s))), s...)
		}
		dst = be.AppendUint16(dst, uint16(len(h.Nodes)))
		for _, n := range h.Nodes {
			dst = be.AppendUint32(dst, uint32(n))
		}
		return dst
	})
}

// parseHello reads the body of a handshake; fields of later versions may follow.
func parseHello(b []byte) (h hello, err error) {
	bad := fmt.Errorf("%w: handshake of %d bytes", errProtocol, len(b))
	if len(b) < handshakeHeadLen {
		return hello{}, bad
	}
	be := binary.BigEndian
	h.Boot, h.session = site.Boot(be.Uint64(b)), be.Uint64(b[8:])
	h.index, h.count, h.LevelMin, h.LevelMax, h.SiteIndex, h.Role = b[16], b[17], b[18], b[19], b[20], site.Role(b[21])
	h.SiteEpoch, h.Node, h.credit = be.Uint32(b[24:]), int32(be.Uint32(b[28:])), be.Uint64(b[32:])
	if h.count < 1 || h.count > dataMax || h.index > h.count || b[22] != 0 || b[23] != 0 {
		return hello{}, bad
	}
	b = b[handshakeHeadLen:]
	for _, s := range [...]*string{&h.ClusterID, &h.Site} {
		if len(b) < 2 {
			return hello{}, bad
		}
		n := int(be.Uint16(b))
		if n > nameBytesMax || len(b) < 2+n {
			return hello{}, bad
		}
		*s, b = string(b[2:2+n]), b[2+n:]
	}
	if len(b) < 2 {
		return hello{}, bad
	}
	n := int(be.Uint16(b))
	if n > nodesMax || len(b) < 2+4*n {
		return hello{}, bad
	}
	for i := range n {
		h.Nodes = append(h.Nodes, int32(be.Uint32(b[2+4*i:])))
	}
	return h, h.check()
}

// appendVerdict writes a welcome, or a refusal where err is not nil.
func appendVerdict(dst []byte, err error) []byte {
	if err == nil {
		return appendFrame(dst, kindWelcome, func(dst []byte) []byte { return dst })
	}
	var r *Refusal
	if !errors.As(err, &r) {
		r = refuse(CodeOther, "%s", err)
	}
	return appendFrame(dst, kindRefusal, func(dst []byte) []byte {
		text := r.Text[:min(len(r.Text), refusalTextMax)]
		dst = binary.BigEndian.AppendUint16(dst, uint16(r.Code))
		return append(binary.BigEndian.AppendUint16(dst, uint16(len(text))), text...)
	})
}

// parseVerdict is nil for a welcome, a *Refusal for a refusal, another error for what is neither.
func parseVerdict(k kind, b []byte) error {
	switch {
	case k == kindWelcome && len(b) == 0:
		return nil
	case k == kindRefusal && len(b) >= 4:
		if n := int(binary.BigEndian.Uint16(b[2:])); n <= refusalTextMax && len(b) == 4+n {
			return &Refusal{Code: Code(binary.BigEndian.Uint16(b)), Text: showable(string(b[4:])), Peer: true}
		}
	}
	return fmt.Errorf("%w: no verdict but kind %d in %d bytes", errProtocol, k, len(b))
}

// judge is nil where the two may be linked. dialled is the site name that was dialled, "" = none was named; known are the names of the
// sites that may be the other one, nil = any.
func judge(self, peer *Handshake, dialled string, known []string) error {
	switch {
	case self.Site == peer.Site, self.Boot == peer.Boot:
		return refuse(CodeItself, "a link to itself: both sides are site %q"+wayOut+"site.peers has to lead to the other site, and site.name to differ", self.Site)
	case self.SiteIndex == peer.SiteIndex:
		return refuse(CodeItself, "sites %q and %q both have site index %d"+wayOut+"start the one that is to be the standby with an empty data directory, site.role=standby and site.index=%d",
			self.Site, peer.Site, self.SiteIndex, otherIndex(self.SiteIndex))
	case dialled != "" && dialled != peer.Site:
		return refuse(CodeSite, "site %q answered where %q was expected"+wayOut+"correct site.peers of %s", peer.Site, dialled, self.Site)
	case known != nil && !slices.Contains(known, peer.Site):
		return refuse(CodeSite, "site %q is not known to %q, whose site.peers names %s"+wayOut+"correct site.peers of the one, or site.name of the other", peer.Site, self.Site, strings.Join(known, ", "))
	case self.ClusterID == "" && peer.ClusterID == "":
		return refuse(CodeCluster, "neither site has a cluster id yet: %q and %q are two standbys"+wayOut+"make the one that is to be active active, tandem dr failover --to NAME --active-is-down, or start it with an empty data directory and site.role=active",
			self.Site, peer.Site)
	case self.ClusterID != "" && peer.ClusterID != "" && self.ClusterID != peer.ClusterID:
		return refuse(CodeCluster, "site %q has cluster id %s, site %q has %s"+wayOut+"if site.peers is right, start the one whose data is not wanted with an empty data directory and site.role=standby",
			self.Site, self.ClusterID, peer.Site, peer.ClusterID)
	case self.LevelMax < peer.LevelMin || peer.LevelMax < self.LevelMin:
		return refuse(CodeLevel, "site %q can do format levels %d to %d, site %q %d to %d"+wayOut+"the same release at both", self.Site, self.LevelMin, self.LevelMax,
			peer.Site, peer.LevelMin, peer.LevelMax)
	}
	for _, n := range append([]int32{peer.Node}, peer.Nodes...) {
		if n == self.Node || slices.Contains(self.Nodes, n) {
			return refuse(CodeNodes, "sites %q and %q both have node id %d"+wayOut+"start that broker of the standby with another node.id and an empty data directory", self.Site, peer.Site, n)
		}
	}
	return nil
}

// otherIndex is one that index is not.
func otherIndex(index uint8) int {
	if index == 0 {
		return 1
	}
	return 0
}

package group

import (
	"slices"
	"strings"
)

// typeClassic is the only type of group so far. Source: Kafka's Group.GroupType.
const typeClassic = "classic"

// Description is what DescribeGroups tells about a group. Slices are shared with the group and must not be changed.
type Description struct {
	State        string
	ProtocolType string
	Protocol     string // "" unless the group is Stable
	Members      []DescribedMember
}

// DescribedMember is a member as DescribeGroups tells about it.
type DescribedMember struct {
	MemberID   string
	InstanceID *string
	ClientID   string
	ClientHost string
	Metadata   []byte // nil unless the group is Stable
	Assignment []byte
}

// describe tells about a group. Errors: ErrGroupIDNotFound. Source: GroupMetadataManager.describeGroups.
func (s *membership) describe(id string) (Description, error) {
	g, ok := s.byID[id]
	if !ok {
		return Description{State: stateDead.String()}, ErrGroupIDNotFound
	}
	d := Description{State: g.state.String(), ProtocolType: g.protocolType, Members: make([]DescribedMember, len(g.order))}
	stable := g.state == stateStable
	if stable && g.protocol != nil {
		d.Protocol = *g.protocol
	}
	for i, m := range g.order {
		out := DescribedMember{
			MemberID: m.id, InstanceID: m.instance, ClientID: m.clientID, ClientHost: m.clientHost, Assignment: m.assignment,
		}
		if stable {
			out.Metadata = m.metadata(g.protocol)
		}
		d.Members[i] = out
	}
	return d, nil
}

// Listed is a group as ListGroups tells about it.
type Listed struct {
	GroupID      string
	ProtocolType string
	State        string
	Type         string
}

// Filter chooses groups for ListGroups. Case and spaces around do not matter; an empty list lets everything through.
type Filter struct{ States, Types []string }

// list lists the groups that a filter lets through. Source: GroupMetadataManager.listGroups.
func (s *membership) list(f Filter) []Listed {
	if len(f.Types) > 0 && !slices.ContainsFunc(f.Types, func(t string) bool { return strings.EqualFold(t, typeClassic) }) {
		return nil
	}
	var out []Listed
	for _, g := range s.byID {
		state := g.state.String()
		wanted := func(s string) bool { return strings.EqualFold(strings.TrimSpace(s), state) }
		if len(f.States) == 0 || slices.ContainsFunc(f.States, wanted) {
			out = append(out, Listed{GroupID: g.id, ProtocolType: g.protocolType, State: state, Type: typeClassic})
		}
	}
	return out
}

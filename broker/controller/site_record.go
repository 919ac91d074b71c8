package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/meta"
)

// SiteRecord is what the metadata Raft group keeps of a pair of sites: the site's role, and what it knows of itself and the other.
type SiteRecord struct {
	Role site.Record
	SiteFacts
}

// SiteFacts are who the two sites are. Once stored, names, indexes and the cluster id stay as they are.
type SiteFacts struct {
	Name    string    `json:"name"`
	Index   uint32    `json:"index"`             // 0 to site.Sites-1
	Cluster string    `json:"cluster,omitempty"` // the cluster id of both; "" = a standby that has not met its active
	Peer    *PeerSite `json:"peer,omitempty"`    // nil = not met
}

// PeerSite is the other site as it has told of itself.
type PeerSite struct {
	Name    string       `json:"name"`
	Index   uint32       `json:"index"`
	Brokers []PeerBroker `json:"brokers,omitempty"` // by node id
}

// PeerBroker is a broker of a site, as the other site's clients need it.
type PeerBroker struct {
	Node      int32      `json:"node"`
	Endpoints []Endpoint `json:"listeners,omitempty"`
}

// ErrFormatLevel: two sites need a format level that is not in force on this broker.
var ErrFormatLevel = errors.New("controller: a pair of sites needs format level 2")

// ErrSiteRecord: a change of the record that would take back what it says already, or that does not fit to it.
var ErrSiteRecord = errors.New("controller: site record")

// ErrHalfCopy: a promotion by a switchover while a partition is being copied anew. It is surely not in the record.
var ErrHalfCopy = fmt.Errorf("%w: a copy is not whole", ErrSiteRecord)

// siteLevel is the format level that brings commands 7 and above.
const siteLevel = 2

// siteChange is the document of command 7; null = as it is.
type siteChange struct {
	Role  *roleDocument `json:"role,omitempty"`
	Facts *SiteFacts    `json:"facts,omitempty"`
}

// roleDocument is a site.Record.
type roleDocument struct {
	Active     bool   `json:"active"`
	Epoch      uint32 `json:"epoch"`
	Planned    bool   `json:"planned,omitempty"`
	Seen       uint32 `json:"seen,omitempty"`
	Refused    uint32 `json:"refused,omitempty"`
	LastTarget uint32 `json:"lastTarget,omitempty"`
	Fencing    uint32 `json:"fencing,omitempty"`
	StopRenew  bool   `json:"stopRenew,omitempty"`
}

func roleOf(r site.Record) *roleDocument {
	return &roleDocument{Active: r.Role == site.Active, Epoch: r.Epoch, Planned: r.Planned, Seen: r.Seen, Refused: r.Refused,
		LastTarget: r.LastTarget, Fencing: r.Fencing, StopRenew: r.StopRenew}
}

func (d *roleDocument) record() site.Record {
	r := site.Record{Role: site.Standby, Epoch: d.Epoch, Planned: d.Planned, Seen: d.Seen, Refused: d.Refused, LastTarget: d.LastTarget,
		Fencing: d.Fencing, StopRenew: d.StopRenew}
	if d.Active {
		r.Role = site.Active
	}
	return r
}

// siteState is the metadata of a pair of sites. A nil one is a broker that is not of a pair.
type siteState struct {
	SiteRecord
	// Followed says that the metadata is an active's, of the site epoch in Role. Until then only a whole image counts.
	Followed bool
	// Joined says that the metadata is this pair's: the site was active, or has followed one. Before, it holds nothing that the
	// other site may take away.
	Joined bool
	// Revision rises with each change by command 7 or 8, and with each partition that command 12 begins anew: what was planned on an older one is
	// not applied.
	Revision  uint64
	Conflicts []Conflict
}

// siteRecord is the document in meta.db.
type siteRecord struct {
	Role      *roleDocument `json:"role"`
	Facts     SiteFacts     `json:"facts"`
	Followed  bool          `json:"followed,omitempty"`
	Joined    bool          `json:"joined,omitempty"`
	Revision  uint64        `json:"revision"`
	Conflicts []Conflict    `json:"conflicts,omitempty"`
}

var keyRecord = []byte("record")

func (s *siteState) name() string {
	if s == nil {
		return ""
	}
	return s.Name
}

func (s *siteState) epoch() uint32 {
	if s == nil {
		return 0
	}
	return s.Role.Epoch
}

// refusal is why this site does not change the logical metadata by itself; nil = it does. The order of the log decides: nothing
// that comes behind the begin of a switchover is in the metadata that the other site takes over.
func (s *siteState) refusal() error {
	switch {
	case s == nil:
		return nil
	case s.Role.Role != site.Active:
		return refuse(ErrStandby, "This is the standby site %s; topics and configs are changed at the active one.", s.Name)
	case s.Role.Fencing != 0:
		return refuse(ErrStandby, "The site %s is handing over to the other one.", s.Name)
	}
	return nil
}

// notActive is why the metadata of this site is nobody's to follow; nil = it is.
func (s *siteState) notActive() error {
	if s == nil || s.Role.Role != site.Active {
		return ErrStandby
	}
	return nil
}

// standby says that this site is the standby of a pair.
func (m *machine) standby() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.site != nil && m.mu.site.Role.Role != site.Active
}

func (s *siteState) otherBrokers() (brokers []Broker) {
	if s == nil || s.Peer == nil {
		return nil
	}
	for _, b := range s.Peer.Brokers { // the rack of all is the site: KIP-392 finds the nearest replica by it
		brokers = append(brokers, Broker{Node: b.Node, Rack: s.Peer.Name, Site: s.Peer.Name, Endpoints: b.Endpoints})
	}
	return brokers
}

// SiteRecord is the record of the pair of sites; ok is false where there is none.
func (c *Controller) SiteRecord() (r SiteRecord, ok bool) {
	m := c.machine
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.site == nil {
		return SiteRecord{}, false
	}
	return m.mu.site.SiteRecord, true
}

// Conflicts are the topics of the active site that this standby leaves out, because it has topics of its own by their names.
func (c *Controller) Conflicts() []Conflict {
	m := c.machine
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.site == nil {
		return nil
	}
	return slices.Clone(m.mu.site.Conflicts)
}

// StoreSite makes a change of the record durable; nil = that part stays. The first call needs both parts. Errors: ErrFormatLevel,
// ErrSiteRecord, which ErrHalfCopy is too, ErrNotController, ErrTimeout.
func (c *Controller) StoreSite(ctx context.Context, role *site.Record, facts *SiteFacts) error {
	if c.opts.Host.Store().FormatLevel() < siteLevel {
		return ErrFormatLevel
	}
	var command siteChange
	if role != nil {
		command.Role = roleOf(*role)
	}
	command.Facts = facts
	f, err := c.propose(commandSite, command)
	if err != nil {
		return err
	}
	_, err = outcome[any](ctx, f)
	return err
}

// siteLocked changes the record. What it says once is never taken back: epochs do not fall, roles change with the epoch alone.
func (m *machine) siteLocked(c siteChange) (any, func()) {
	old := m.mu.site
	if old == nil && (c.Role == nil || c.Facts == nil) {
		return fmt.Errorf("%w: the first one needs role and facts", ErrSiteRecord), nil
	}
	next := &siteState{}
	if old != nil {
		*next = *old
	}
	if c.Facts != nil {
		if err := m.checkFactsLocked(old, c.Facts); err != nil {
			return err, nil
		}
		next.SiteFacts = *c.Facts
	}
	if c.Role != nil {
		if err := checkRole(old, c.Role.record()); err != nil {
			return err, nil
		}
		next.Role = c.Role.record()
		if err := m.copiedLocked(old, next); err != nil {
			return err, nil
		}
	}
	if moved := old == nil || old.Role.Epoch != next.Role.Epoch || old.Role.Role != next.Role.Role; moved {
		next.Followed, next.Conflicts = false, nil
		if next.Role.Role == site.Active {
			next.Joined = true
			m.mu.version = Version{next.Role.Epoch, m.mu.version.N + 1}
		}
		m.mu.changes = changes{deltasFrom: m.mu.version} // whoever follows from here on begins with a whole image
	}
	m.putSiteLocked(next)
	return nil, nil
}

// copiedLocked refuses to take the role over by a switchover, which loses nothing, while a partition is being copied anew: that it was drained may have
// been said of the log before.
func (m *machine) copiedLocked(old, next *siteState) error {
	if old == nil || old.Role.Role != site.Standby || next.Role.Role != site.Active || !next.Role.Planned {
		return nil
	}
	for _, t := range m.mu.byID {
		if i := slices.IndexFunc(t.Partitions, func(p Partition) bool { return p.Recopying != nil }); i >= 0 {
			return fmt.Errorf("%w: that of partition %d of topic %s", ErrHalfCopy, i, t.Name)
		}
	}
	return nil
}

func (m *machine) putSiteLocked(s *siteState) {
	s.Revision++
	m.mu.site = s
	m.writeJSONLocked(bucketSite, keyRecord, siteRecord{
		Role: roleOf(s.Role), Facts: s.SiteFacts, Followed: s.Followed, Joined: s.Joined, Revision: s.Revision, Conflicts: s.Conflicts,
	})
	m.image.Store(nil)
}

func (m *machine) loadSite(tx meta.Tx, s *state) error {
	value, err := tx.Get(bucketSite, keyRecord)
	if err != nil {
		return err
	}
	if value != nil {
		r, err := decodeDocument[siteRecord](value)
		if err != nil || r.Role == nil {
			return fmt.Errorf("site record: %w", errors.Join(err, meta.ErrCorrupt))
		}
		s.site = &siteState{SiteRecord: SiteRecord{r.Role.record(), r.Facts}, Followed: r.Followed, Joined: r.Joined, Revision: r.Revision,
			Conflicts: r.Conflicts}
	}
	return m.loadHidden(tx, s)
}

func (m *machine) checkFactsLocked(old *siteState, f *SiteFacts) error {
	switch {
	case f.Name == "" || f.Index >= site.Sites:
		return fmt.Errorf("%w: a site has a name and an index below %d, not %q and %d", ErrSiteRecord, site.Sites, f.Name, f.Index)
	case old != nil && (old.Name != f.Name || old.Index != f.Index):
		return fmt.Errorf("%w: this is site %s with index %d, not %s with %d", ErrSiteRecord, old.Name, old.Index, f.Name, f.Index)
	case old != nil && old.Cluster != "" && old.Cluster != f.Cluster:
		return fmt.Errorf("%w: the cluster id is %s, not %s", ErrSiteRecord, old.Cluster, f.Cluster)
	case old != nil && old.Peer != nil && (f.Peer == nil || f.Peer.Name != old.Peer.Name || f.Peer.Index != old.Peer.Index):
		return fmt.Errorf("%w: the other site is %s with index %d", ErrSiteRecord, old.Peer.Name, old.Peer.Index)
	case f.Peer == nil:
		return nil
	case f.Peer.Name == "" || f.Peer.Index >= site.Sites || f.Peer.Name == f.Name || f.Peer.Index == f.Index:
		return fmt.Errorf("%w: the two sites need different names and indexes, not %s, %d and %s, %d", ErrSiteRecord,
			f.Name, f.Index, f.Peer.Name, f.Peer.Index)
	}
	var own, other []int32
	for node := range m.mu.brokers {
		own = append(own, node)
	}
	for _, b := range f.Peer.Brokers {
		other = append(other, b.Node)
	}
	if err := CheckDisjoint(own, other); err != nil {
		return fmt.Errorf("%w: %w", ErrSiteRecord, err)
	}
	return nil
}

// checkRole refuses a record that is older than what stands.
func checkRole(old *siteState, r site.Record) error {
	if old == nil {
		return nil
	}
	o := old.Role
	switch {
	case r.Epoch < o.Epoch || r.Seen < o.Seen || r.Refused < o.Refused || r.LastTarget < o.LastTarget:
		return fmt.Errorf("%w: %+v would take back what %+v says", ErrSiteRecord, r, o)
	case r.Epoch == o.Epoch && r.Role != o.Role:
		return fmt.Errorf("%w: %s and %s in the same site epoch %d", ErrSiteRecord, o.Role, r.Role, r.Epoch)
	}
	return nil
}

// CheckDisjoint says which node ids two sites have both: one cluster has each once.
func CheckDisjoint(own, other []int32) error {
	var both []int32
	for _, node := range other {
		if slices.Contains(own, node) && !slices.Contains(both, node) {
			both = append(both, node)
		}
	}
	if len(both) == 0 {
		return nil
	}
	slices.Sort(both)
	return fmt.Errorf("both sites have brokers of node.id %v; each must have ids of its own", both)
}

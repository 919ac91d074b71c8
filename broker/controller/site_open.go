package controller

import (
	"context"
	"errors"
	"fmt"

	"github.com/tandembroker/tandem/replication/site"
)

// ErrSiteSettings: the settings of the pair of sites do not fit to what this site is.
var ErrSiteSettings = errors.New("controller: settings of the pair of sites")

// OpenSite is the record of the pair of sites, made from the settings at the first start; ok is false for a broker that is of no pair.
// From then on the record counts: site.role and site.index are ignored, with a line in the log, and the site keeps its name. To be
// called after Start. Errors: ErrSiteSettings, and those of StoreSite.
func (c *Controller) OpenSite(ctx context.Context) (r SiteRecord, ok bool, err error) {
	s := c.opts.Config.Site
	r, ok = c.SiteRecord()
	switch {
	case s == nil && ok:
		return r, true, fmt.Errorf("%w: this data directory is of the site %s; accepted: site.name=%s", ErrSiteSettings, r.Name, r.Name)
	case s == nil:
		return SiteRecord{}, false, nil
	case ok && s.Name != r.Name:
		return r, true, fmt.Errorf("%w: site.name=%s: this data directory is of the site %s; accepted: that name", ErrSiteSettings, s.Name, r.Name)
	case ok && r.Peer != nil && s.Peer != "" && s.Peer != r.Peer.Name:
		return r, true, fmt.Errorf("%w: site.peers names %s: the other site is %s; accepted: that name", ErrSiteSettings, s.Peer, r.Peer.Name)
	case ok:
		if s.Role != "" || s.Index >= 0 {
			c.logger.Info("site.role and site.index count at the first start only, and are ignored", "site", r.Name, "role", r.Role.Role.String(),
				"index", r.Index, "site.role", s.Role, "site.index", s.Index)
		}
		return r, true, nil
	case s.Role == "":
		return SiteRecord{}, false, fmt.Errorf("%w: site.role is missing at the first start of the site %s; accepted: active or standby", ErrSiteSettings, s.Name)
	}
	role, facts := site.Record{Role: site.Standby}, SiteFacts{Name: s.Name, Index: uint32(s.Index)}
	if s.Role == "active" {
		role.Role, facts.Cluster = site.Active, c.opts.Host.Store().Identity().ClusterID
	}
	if err := c.StoreSite(ctx, &role, &facts); err != nil {
		return SiteRecord{}, false, err
	}
	c.logger.Info("this is a site of a pair from now on", "site", s.Name, "role", s.Role, "index", s.Index)
	r, ok = c.SiteRecord()
	return r, ok, nil
}

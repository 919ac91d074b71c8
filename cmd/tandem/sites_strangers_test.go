//go:build linux && (amd64 || arm64)

package main

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tandembroker/tandem/broker/brokertest"
	"github.com/tandembroker/tandem/broker/sites/operator"
)

// TestSitesThatDoNotFitSayWhy: two brokers that are no pair. Each of them says why and what to do about it, does not flood its log, and goes
// on otherwise; once what it says is done, they are a pair.
func TestSitesThatDoNotFitSayWhy(t *testing.T) {
	hour := time.Hour
	for _, c := range []struct {
		name   string
		with   func(east, west *siteProcess)
		reason [2]string // that east and west tell
		next   string
		mend   func(east, west *siteProcess)
	}{
		{
			"two actives", func(_, west *siteProcess) { west.change("site.role=active", "site.index=1") },
			[2]string{"has cluster id", "has cluster id"}, "an empty data directory and site.role=standby",
			func(_, west *siteProcess) { west.anew("site.role=standby") },
		},
		{
			"two standbys", func(east, _ *siteProcess) { east.change("site.role=standby", "site.index=0") },
			[2]string{"two standbys", "two standbys"}, "tandem dr failover --to",
			func(east, _ *siteProcess) {
				east.does(3, "failover --to east --active-is-down --yes", "east is empty", "--accept-data-loss")
				east.does(0, "failover --to east --active-is-down --accept-data-loss --yes", "east is the active site")
				east.green()
				east.write("t", 1, 1)
				east.has("t")
				east.kill() // it is what it was made also behind a restart
				east.start()
			},
		},
		{
			"the same node id", func(_, west *siteProcess) { west.change("node.id=1") },
			[2]string{"both have node id 1", "both have node id 1"}, "another node.id",
			func(_, west *siteProcess) { west.anew("node.id=101") },
		},
		{
			"the same site index", func(_, west *siteProcess) { west.change("site.index=0") },
			[2]string{"both have site index 0", "both have site index 0"}, "site.index=1",
			func(_, west *siteProcess) { west.anew("site.index=1") },
		},
		{
			"a link to itself", func(east, west *siteProcess) { east.change("site.peers=west@" + east.own); west.change("site.peers=") },
			[2]string{"a link to itself", ""}, "site.peers has to lead to the other site",
			func(east, west *siteProcess) { east.stop(); east.change("site.peers=west@" + west.own); east.start() },
		},
		{
			"another name than expected", func(east, west *siteProcess) {
				east.change("site.peers=west@" + brokertest.Reserve(east.t))
				west.change("site.peers=south@" + east.own)
			},
			[2]string{`site "east" answered where "south" was expected`, `site "east" answered where "south" was expected`}, "correct site.peers of west",
			func(east, west *siteProcess) { west.stop(); west.change("site.peers=east@" + east.own); west.start() },
		},
		{
			"a name that is not known", func(east, west *siteProcess) {
				east.change("site.peers=west@" + brokertest.Reserve(east.t))
				west.change("site.name=south")
			},
			[2]string{`site "south" is not known to "east"`, `site "south" is not known to "east"`}, "correct site.peers of the one, or site.name of the other",
			func(east, west *siteProcess) { east.stop(); east.change("site.peers=south@" + west.own); east.start() },
		},
		{
			"topics of its own", func(east, west *siteProcess) {
				west.change("site.name=", "site.role=", "site.peers=")
				own := west.own
				west.own = brokertest.Reserve(t)
				west.start()
				west.write("own", 1, 1)
				west.stop()
				west.own = own
				west.change("site.name=west", "site.role=standby", "site.peers=east@"+east.own)
			},
			[2]string{"topics of its own", "topics of its own"}, "start it with site.role=standby and site.index=1",
			func(_, west *siteProcess) { west.anew() },
		},
		{
			"a certificate of another signer", func(east, west *siteProcess) {
				s := newSigner(t)
				s.files(east, time.Now().Add(hour), s.trust())
				newSigner(t).files(west, time.Now().Add(hour), s.trust())
			},
			[2]string{"certificate", "certificate"}, "signed by who is in the other one's trust store", nil,
		},
		{
			"a certificate that has expired", func(east, west *siteProcess) {
				s := newSigner(t)
				s.files(east, time.Now().Add(hour), s.trust())
				s.files(west, time.Now().Add(-time.Minute), s.trust())
			},
			[2]string{"expired", "certificate"}, "must be in force", nil,
		},
		{
			"TLS and none", func(east, _ *siteProcess) { s := newSigner(t); s.files(east, time.Now().Add(hour), s.trust()) },
			[2]string{"", ""}, "has to speak the same at both", nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			east, west := newSites(t)
			c.with(east, west)
			east.start()
			west.start()
			for i, s := range []*siteProcess{east, west} {
				if s == west && c.name == "a link to itself" { // it dials nobody, and nobody dials it
					west.does(0, "status", "green: no", "nothing was heard of the other site since this site was started", "start the brokers of the other site")
					west.does(2, "failover --to east --yes", `no site is called "east"`, "--to west; the name of the other site is not known at west")
					continue
				}
				s.tells(c.reason[i], c.next)
				s.refusesToHandOver(map[*siteProcess]string{east: "west", west: west.set["site.name"]}[s])
				if n := s.linesOf("level=WARN", "site link"); n < 1 && c.name != "topics of its own" || n > 6 {
					t.Errorf("%d lines about the link in the log of %s", n, s.name)
				}
			}
			if c.name != "two standbys" {
				east.write("t", 10, 10) // the rest goes on
			}
			if c.mend == nil { // all that is wrong is in files
				s := newSigner(t)
				s.files(east, time.Now().Add(hour), s.trust())
				s.files(west, time.Now().Add(hour), s.trust())
				if c.name == "TLS and none" {
					west.stop()
					west.start()
				}
			} else {
				c.mend(east, west)
			}
			east.has("t")
			west.has("t")
			west.does(0, "verify", "equal: ")
		})
	}
}

// refusesToHandOver: a switchover between sites that do not follow each other is refused, and nothing has changed.
func (s *siteProcess) refusesToHandOver(to string) {
	s.t.Helper()
	if code, out, errs := s.dr("switchover", "--to", to, "--yes", "--json"); code != 3 || out != "" || !strings.Contains(errs, `"next"`) {
		s.t.Errorf("switchover at %s: exit code %d\n%s%s", s.name, code, out, errs)
	}
}

// TestReleasesThatDoNotSpeakToEachOther: each side is told what the other one speaks that it does not.
func TestReleasesThatDoNotSpeakToEachOther(t *testing.T) {
	for _, c := range []struct {
		name    string
		opening brokertest.Opening // what the other release says in place of this one
		reason  string
	}{
		{"version of the link", otherVersion, "no version of the link that both sides speak"},
		{"format levels", otherLevels, "can do format levels 2 to 2, site"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			east, west := newSites(t)
			between := brokertest.NewRelay(t, west.own)
			between.Change(c.opening)
			east.change("site.peers=west@" + between.Addr())
			west.change("site.peers=")
			east.start()
			west.start()
			for _, s := range []*siteProcess{east, west} {
				s.tells(c.reason, "the same release at both")
				s.refusesToHandOver("west")
			}
			east.write("t", 10, 10) // the rest goes on
			between.Change(nil)
			east.has("t")
			west.has("t")
			if n := east.linesOf("level=WARN", "site link"); n < 1 || n > 6 {
				t.Errorf("%d lines about the link", n)
			}
		})
	}
}

// Sizes and places of docs/formats.md, "Opening", "Frame" and "Handshake".
const (
	openingLen  = 8
	versionsAt  = 4
	frameLen    = 16
	levelsAt    = 18 // of the handshake
	anotherKind = 9  // neither a version nor a level of this release
)

func otherVersion(from io.Reader) ([]byte, error) {
	b := make([]byte, openingLen)
	_, err := io.ReadFull(from, b)
	b[versionsAt], b[versionsAt+1] = anotherKind, anotherKind
	return b, err
}

func otherLevels(from io.Reader) ([]byte, error) {
	b := make([]byte, openingLen+frameLen)
	if _, err := io.ReadFull(from, b); err != nil {
		return nil, err
	}
	frame := b[openingLen:]
	body := make([]byte, min(binary.BigEndian.Uint32(frame), 1<<16))
	_, err := io.ReadFull(from, body)
	body[levelsAt], body[levelsAt+1] = anotherKind, anotherKind
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	binary.BigEndian.PutUint32(frame[8:], crc32.Checksum(body, castagnoli))
	binary.BigEndian.PutUint32(frame[12:], crc32.Checksum(frame[:12], castagnoli))
	return append(b, body...), err
}

// TestSitesOverTLS: certificates in files and in settings, dialled by one side alone or by both.
func TestSitesOverTLS(t *testing.T) {
	for name, with := range map[string]func(s *signer, east, west *siteProcess){
		"only the active dials": func(s *signer, east, west *siteProcess) {
			s.inline(east)
			s.inline(west)
			west.change("site.peers=")
		},
		"only the standby dials": func(s *signer, east, west *siteProcess) {
			s.files(east, time.Now().Add(time.Hour), s.trust())
			s.inline(west)
			east.change("site.peers=")
		},
		"both dial": func(s *signer, east, west *siteProcess) {
			s.files(east, time.Now().Add(time.Hour), s.trust())
			s.files(west, time.Now().Add(time.Hour), s.trust())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			east, west := newSites(t)
			with(newSigner(t), east, west)
			east.start()
			west.start()
			east.write("t", 100, 100)
			west.has("t")
			east.does(0, "switchover --to west --yes", "west is the active site")
			west.stop() // with site.role=standby still among its settings
			west.start()
			west.until("west is active", func(st operator.Status) bool { return st.Green && st.Sites[0].Role == "active" })
			if west.linesOf("site.role and site.index count at the first start only", "role=active") != 1 {
				t.Error("no line says that site.role is ignored")
			}
			east.does(0, "verify", "equal: ")
			if name == "both dial" {
				if err := os.WriteFile(east.set[siteSSL+"keystore.location"], []byte("rubbish"), 0o600); err != nil {
					t.Fatal(err)
				}
				west.stop()
				west.start()
				east.green() // with the certificate that it had
				if n := east.linesOf("changed certificates of the site listener cannot be used"); n != 1 {
					t.Errorf("%d lines about the file that cannot be used", n)
				}
			}
		})
	}
}

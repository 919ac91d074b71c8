package operator

import "fmt"

// Trouble is what keeps a site from doing its part, as it says of itself.
type Trouble struct {
	Site string `json:"-"` // whose it is
	Code string `json:"code"`
	Text string `json:"text"`
	Next string `json:"next"` // the way out
}

// Codes of Troubles.
const (
	TroubleNoRoom   = "no room"  // the disk is full
	TroubleMetadata = "metadata" // what the active has is not taken over
	TroubleOffline  = "offline"  // partitions cannot be used
)

// Obstacle is why there is no connection.
type Obstacle struct {
	Text string
	Next string // "" = nothing beyond a network that does not reach the other site
}

// Anew is how the broker of a standby begins again with nothing. index below 0 = not known.
func Anew(name string, index int) string {
	if index < 0 {
		return fmt.Sprintf("stop the broker of %s, empty its data directory, and start it with site.role=standby and the site.index that it had", name)
	}
	return fmt.Sprintf("stop the broker of %s, empty its data directory, and start it with site.role=standby and site.index=%d", name, index)
}

// troubleReasons are what the sites say of themselves.
func (f *Facts) troubleReasons(add func(code, next, format string, args ...any)) {
	for _, t := range f.Troubles {
		add(t.Code, t.Next, "%s", t.Text)
	}
}

// troubled is what keeps the named site from doing its part; nil = nothing is known.
func (f *Facts) troubled(name string) *Trouble {
	for i := range f.Troubles {
		if f.Troubles[i].Site == name {
			return &f.Troubles[i]
		}
	}
	return nil
}

// offline is about partitions that the named site cannot use; nil = nothing is known of any.
func (f *Facts) offline(name string) *Trouble {
	for i := range f.Troubles {
		if f.Troubles[i].Site == name && f.Troubles[i].Code == TroubleOffline {
			return &f.Troubles[i]
		}
	}
	return nil
}

// barred says that the sites do not meet for a reason that does not pass by itself.
func (f *Facts) barred() bool { return !f.Connected && f.Obstacle != nil && f.Obstacle.Next != "" }

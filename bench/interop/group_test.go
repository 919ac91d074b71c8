package main

import "testing"

// TestOnlyMembersThatSetBackGetMoreRecords: from all other members the ends must be committed without another record.
func TestOnlyMembersThatSetBackGetMoreRecords(t *testing.T) {
	for _, f := range families {
		g := group{active: []*member{{player: player{family: &family{exact: true}}}, {player: player{family: f}}}}
		want := 0
		if f.name == "kafka-go" {
			want = 2
		}
		if got := g.amends(); got != want {
			t.Errorf("%s: %d more records, want %d", f.name, got, want)
		}
	}
}

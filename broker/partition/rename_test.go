package partition

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// TestRename: a partition is found under its new name alone, its old one is free, and it can be deleted.
func TestRename(t *testing.T) {
	b := newMemBroker(t)
	p := b.create(t, 0)
	old := p.Topic()
	if err := b.Rename(uuid.New(), 0, "x"); !errors.Is(err, ErrUnknown) {
		t.Errorf("a partition of nobody: %v", err)
	}
	other := Spec{Topic: "other", TopicID: uuid.New(), Config: topicConfig()}
	if _, err := b.Create(waitContext(t), other); err != nil {
		t.Fatal(err)
	}
	if err := b.Rename(p.TopicID(), 0, "other"); !errors.Is(err, ErrExists) || p.Topic() != old {
		t.Errorf("a name that is taken: %v, now %s", err, p.Topic())
	}
	for range 2 { // twice is as once
		if err := b.Rename(p.TopicID(), 0, "aside~"); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := b.Get(old, 0); ok {
		t.Error("the old name is still there")
	}
	if q, ok := b.Get("aside~", 0); !ok || q != p || p.Topic() != "aside~" {
		t.Errorf("under the new name: %v", q)
	}
	// One of the old name has a folder of its own, as long as a folder's name may be.
	again := Spec{Topic: old, TopicID: uuid.New(), Config: topicConfig(), OwnFolder: true}
	if q, err := b.Create(waitContext(t), again); err != nil || q.Topic() != old {
		t.Errorf("of the old name: %v", err)
	}
	if err := b.Delete(waitContext(t), p.TopicID(), 0); err != nil {
		t.Fatal(err)
	}
	if _, ok := b.Get("aside~", 0); ok {
		t.Error("deleted, and still there")
	}
	long := Spec{Topic: strings.Repeat("n", 249), TopicID: uuid.New(), Partition: 1<<31 - 1, OwnFolder: true}
	if n := len(long.folder()); n > 255 {
		t.Errorf("a folder name of %d bytes", n)
	}
}

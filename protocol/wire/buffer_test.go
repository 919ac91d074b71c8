package wire

import "testing"

func TestBufferClasses(t *testing.T) {
	for class := range classCount {
		size := classSize(class)
		if got := classFor(size); got != class {
			t.Errorf("%d bytes: class %d, want %d", size, got, class)
		}
		if got := classFor(size + 1); got != class+1 {
			t.Errorf("%d bytes: class %d, want %d", size+1, got, class+1)
		}
	}
	if got := classSize(classCount - 1); got != 12<<20 {
		t.Errorf("the largest class holds %d bytes", got)
	}
}

func TestBufferIsReusedAfterTheLastRelease(t *testing.T) {
	p := NewPool(PoolOptions{})
	b := p.Get(1000)
	b.Retain()
	b.Release()
	if other := p.Get(1000); other == b {
		t.Fatal("handed out while referenced")
	}
	b.Release()
	again := p.Get(1 << 9 * 2)
	if again != b {
		t.Fatal("not reused")
	}
	if len(again.Bytes()) != 1024 || cap(again.Bytes()) != 1024 {
		t.Fatalf("%d bytes, capacity %d", len(again.Bytes()), cap(again.Bytes()))
	}
}

func TestBufferMisusePanics(t *testing.T) {
	p := NewPool(PoolOptions{})
	for name, misuse := range map[string]func(){
		"release twice":          func() { b := p.Get(1); b.Release(); b.Release() },
		"retain after release":   func() { b := p.Get(1); b.Release(); b.Retain() },
		"large, release twice":   func() { b := p.Get(20 << 20); b.Release(); b.Release() },
		"buffer of -1 bytes":     func() { p.Get(-1) },
		"more memory than taken": func() { NewMemory(1).Release(1) },
		"memory without budget":  func() { NewMemory(0) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			misuse()
		}()
	}
}

func TestPoolKeepsNoMoreThanItMay(t *testing.T) {
	p := NewPool(PoolOptions{IdleBytesMax: 4096})
	var held []*Buffer
	for range 10 {
		held = append(held, p.Get(1024))
	}
	for _, b := range held {
		b.Release()
	}
	if got := p.idleBytes.Load(); got != 4096 {
		t.Fatalf("%d idle bytes", got)
	}
	for range 10 {
		p.Get(1024)
	}
	if got := p.idleBytes.Load(); got != 0 {
		t.Fatalf("%d idle bytes with all in use", got)
	}
}

package claims_test

import (
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway/internal/core/claims"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// granted is a link that forgets itself as it ends.
type granted struct {
	links *claims.Links
	ended int
	stop  chan struct{}
}

func (g *granted) Close(*codec.Condition) {}

func (g *granted) End() {
	if g.ended++; g.ended == 1 {
		close(g.stop)
	}
	g.links.Forget(g)
}

// TestLinks: those that are left are ended, and their goroutines waited for.
func TestLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var links claims.Links
		links.EndAll() // of none
		one, two := &granted{links: &links, stop: make(chan struct{})}, &granted{links: &links, stop: make(chan struct{})}
		finish := make(chan struct{})
		for _, l := range []*granted{one, two} {
			links.Keep(l)
			links.Go(func() {
				<-l.stop
				<-finish
			})
		}
		all := func(claims.Granted) bool { return true }
		if n, m := links.Count(all), links.Count(func(l claims.Granted) bool { return l == one }); n != 2 || m != 1 {
			t.Errorf("%d links, %d of one kind", n, m)
		}
		one.End()
		if n := links.Count(all); n != 1 {
			t.Errorf("%d links after one has ended", n)
		}
		done := false
		go func() { links.EndAll(); done = true }()
		synctest.Wait()
		if done {
			t.Error("goroutines were not waited for")
		}
		close(finish)
		synctest.Wait()
		if !done || one.ended != 1 || two.ended != 1 || links.Count(all) != 0 {
			t.Errorf("done %v, ended %d and %d, %d left", done, one.ended, two.ended, links.Count(all))
		}
	})
}

func TestPeers(t *testing.T) {
	type peer struct{ claims.Peer }
	one, two := &peer{}, &peer{}
	var peers claims.Peers[string]
	if peers.Get(one) != nil || peers.Take(one) != nil {
		t.Error("a peer is known from the start")
	}
	known := "one"
	peers.Put(one, &known)
	if peers.Get(one) != &known || peers.Get(two) != nil {
		t.Errorf("one is %v, two is %v", peers.Get(one), peers.Get(two))
	}
	if peers.Take(one) != &known || peers.Get(one) != nil {
		t.Error("what was taken is there")
	}
}

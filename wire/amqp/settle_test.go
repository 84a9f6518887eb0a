package amqp_test

import (
	"testing"

	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// TestSettleSecond has links on which the sender is to settle first: the receiver
// says the outcome, and settles with it where it was told to.
func TestSettleSecond(t *testing.T) {
	for address, settled := range map[string]bool{"q": false, "eager": true} {
		t.Run(address, func(t *testing.T) {
			p, _ := serve(t, amqp.Config{}, &book{})
			a := sending("l", 0, address)
			a.RcvSettleMode = codec.SettleSecond
			p.begin().send(0, a)
			if answer := expect[*codec.Attach](p); answer.RcvSettleMode != codec.SettleSecond {
				t.Errorf("answered with settle mode %v", answer.RcvSettleMode)
			}
			expect[*codec.Flow](p)
			p.send(0, first(0, 0))
			if d := expect[*codec.Disposition](p); d.First != 0 || d.State.Kind != codec.CodeAccepted || d.Settled != settled {
				t.Errorf("disposition %+v", d)
			}
			// Whether the sender settles or not, the link goes on.
			if !settled {
				p.send(0, &codec.Disposition{First: 0, Settled: true, State: codec.Accepted()})
			}
			p.send(0, first(0, 1))
			if d := expect[*codec.Disposition](p); d.First != 1 {
				t.Errorf("disposition %+v", d)
			}
		})
	}
}

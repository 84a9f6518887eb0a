package events

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/claims"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// requests is a link on which a peer sends requests to $management.
type requests struct {
	peer    *peer
	recv    *amqp.Receiver
	release func()
}

// replies is a link on which a peer receives what $management answers. While
// there are replies a goroutine sends them: it waits for credit, and for room
// among what else the connection carries.
type replies struct {
	peer    *peer
	name    string // what requests say as their reply-to
	snd     *amqp.Sender
	release func()
	ctx     context.Context
	stop    context.CancelFunc

	mu      sync.Mutex
	waiting [][]byte
	sending bool // a goroutine does it
}

var (
	_ amqp.ReceiverHandler = (*requests)(nil)
	_ amqp.SenderHandler   = (*replies)(nil)
	_ claims.Granted       = (*requests)(nil)
	_ claims.Granted       = (*replies)(nil)
)

func (pe *peer) attachManagement(addr hubamqp.Address, a *amqp.Attach) error {
	entity := addr.Entity
	if entity == "" {
		entity = pe.Hub()
	}
	path := "/" + entity + "/" + hubamqp.ManagementAddress
	if err := pe.authorize(path); err != nil {
		return err
	}
	if err := pe.entity(entity); err != nil {
		return err
	}
	manages := func(l claims.Granted) bool { _, ok := l.(*reader); return !ok }
	if n := pe.Count(manages); n >= pe.plane.Limits.ManagementLinks {
		return amqp.Refuse(amqp.ResourceLimitExceeded, "the connection has %d links with $management already, which is the limit", n)
	}
	if a.Role == codec.Sender {
		l := &requests{peer: pe}
		l.recv = a.Receive(amqp.ReceiverOptions{Handler: l, Credit: requestCredit, MaxMessageSize: maxRequest, SettleAtOnce: true})
		pe.Keep(l)
		l.release = pe.Bind(l, path, auth.ServiceConnect)
		return nil
	}
	// Those that were closed because of a claim are not told otherwise.
	pe.replies = slices.DeleteFunc(pe.replies, func(l *replies) bool { return l.snd.Err() != nil })
	l := &replies{peer: pe}
	if a.Target != nil {
		l.name = strings.Clone(a.Target.Address.V)
	}
	l.ctx, l.stop = context.WithCancel(context.Background())
	l.snd = a.Send(amqp.SenderOptions{Handler: l, Untracked: true})
	pe.Keep(l)
	pe.replies = append(pe.replies, l)
	l.release = pe.Bind(l, path, auth.ServiceConnect)
	return nil
}

// Detached lets go of the link.
func (l *requests) Detached(*amqp.Receiver, error) { l.End() }

func (l *requests) End() {
	l.release()
	l.peer.Forget(l)
}

// Close closes the link because what allowed it is over.
func (l *requests) Close(cond *codec.Condition) {
	l.recv.Close(cond)
	l.peer.Forget(l) // nobody else is told
}

// Transfer answers a request.
func (l *requests) Transfer(r *amqp.Receiver, d amqp.Delivery) {
	if err := l.answer(d.Payload); err != nil && !d.Settled {
		r.Settle(d.ID, codec.Rejected(hubamqp.ConditionOf(err)))
	} else if !d.Settled {
		r.Settle(d.ID, codec.Accepted())
	}
}

const opRequest = "events.management"

// answer sends the reply to a request. An error says that this is not possible.
func (l *requests) answer(payload []byte) error {
	pe := l.peer
	req, bad := hubamqp.DecodeManagementRequest(payload)
	if bad != nil && req.MessageID.IsNull() && req.ReplyTo == "" {
		return bad // nothing that could be answered
	}
	to := pe.replyLink(l.recv.Session(), req.ReplyTo)
	if to == nil {
		return causeway.Errorf(causeway.ArgumentInvalid, opRequest,
			"there is no link for the reply: attach a receiver with the source %s and the target %q first", hubamqp.ManagementAddress, req.ReplyTo)
	}
	if n := to.kept(); n >= pe.plane.Limits.Replies {
		return amqp.Refuse(amqp.ResourceLimitExceeded, "%d replies wait for credit: none more are kept", n)
	}
	reply, err := []byte(nil), bad
	if err == nil {
		reply, err = pe.describe(&req)
	}
	if err != nil {
		reply = hubamqp.AppendManagementError(nil, req.MessageID, err)
		pe.plane.Log.Debug("request to $management refused", obs.KeyHub, pe.Hub(), obs.KeyError, err)
	}
	to.send(reply)
	return nil
}

// replyLink returns the link that a reply goes to: the one of that name, or else
// the latest of the session.
func (pe *peer) replyLink(s *amqp.Session, name string) *replies {
	var best *replies
	for _, l := range slices.Backward(pe.replies) {
		switch {
		case l.snd.Err() != nil:
		case l.name == name && name != "":
			return l
		case best == nil && l.snd.Session() == s:
			best = l
		}
	}
	return best
}

// describe returns the reply to a request.
func (pe *peer) describe(req *hubamqp.ManagementRequest) ([]byte, error) {
	if err := pe.entity(req.Name); err != nil {
		return nil, err
	}
	log, err := pe.log(req.Name)
	if err != nil {
		return nil, err
	}
	if req.Type == hubamqp.TypeEventHub {
		hub, ok := pe.plane.Directory.Get(pe.Hub())
		if !ok {
			return nil, causeway.Errorf(causeway.GenericNotFound, opRequest, "hub %q is not here", pe.Hub())
		}
		info := hubamqp.EventHubInfo{Name: req.Name, Created: hub.Created}
		for i := range log.Partitions() {
			info.Partitions = append(info.Partitions, strconv.Itoa(i))
		}
		return hubamqp.AppendEventHubInfo(nil, req.MessageID, info), nil
	}
	p, err := partition(log, req.Partition)
	if err != nil {
		// Here it is an answer and not the end of a link: with the status that
		// clients know.
		return nil, causeway.Errorf(causeway.GenericNotFound, opRequest, "%s", causeway.MessageOf(err))
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastWait)
	defer cancel()
	oldest, next, err := log.Bounds(ctx, p)
	if err != nil {
		return nil, err
	}
	last := lastOf(ctx, log, p, next)
	return hubamqp.AppendPartitionInfo(nil, req.MessageID, hubamqp.PartitionInfo{
		Name: req.Name, Partition: req.Partition, First: int64(oldest), Next: int64(next), LastEnqueued: last.Enqueued,
	}), nil
}

// kept returns how many replies wait.
func (l *replies) kept() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}

// send has a reply sent after those that wait.
func (l *replies) send(reply []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, reply)
	if !l.sending {
		l.sending = true
		l.peer.Go(l.run)
	}
}

// run sends replies until none wait.
func (l *replies) run() {
	for {
		l.mu.Lock()
		if len(l.waiting) == 0 {
			l.sending = false
			l.mu.Unlock()
			l.Flow(l.snd) // which may have come meanwhile
			return
		}
		reply := l.waiting[0]
		l.mu.Unlock()
		if _, err := l.snd.Send(l.ctx, amqp.Transfer{Payload: reply}); err != nil {
			// It is over, or does not take messages as long as this.
			l.snd.Close(hubamqp.ConditionOf(err))
			return
		}
		l.peer.plane.Metrics.MessagesOut.Inc()
		if l.snd.Draining() && l.snd.Credit() == 0 {
			l.snd.Drained() // the others have to wait for more
		}
		l.mu.Lock()
		l.waiting[0] = nil
		l.waiting = l.waiting[1:]
		l.mu.Unlock()
	}
}

// Flow answers a peer that wants what there is and no more.
func (l *replies) Flow(s *amqp.Sender) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.sending && s.Draining() {
		s.Drained()
	}
}

// Disposition is not called: deliveries are not tracked.
func (l *replies) Disposition(*amqp.Sender, amqp.Sent, *codec.State, bool) {}

// Detached lets go of the link.
func (l *replies) Detached(*amqp.Sender, error) { l.End() }

func (l *replies) End() {
	l.stop()
	l.release()
	l.peer.Forget(l)
	if i := slices.Index(l.peer.replies, l); i >= 0 {
		l.peer.replies = slices.Delete(l.peer.replies, i, i+1)
	}
}

// Close closes the link because what allowed it is over.
func (l *replies) Close(cond *codec.Condition) {
	l.snd.Close(cond)
	l.stop()
	l.peer.Forget(l) // nobody else is told
}

package client

import (
	"context"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// noticeCredit is how many notices a receiver may have without settling them.
const noticeCredit = 32

// Feedback is what became of a command whose sender has asked for it with
// causeway.Message.Ack.
type Feedback struct {
	MessageID    string    // of the command
	Time         time.Time // of the outcome
	Status       string    // Success, Expired, DeliveryCountExceeded, Rejected or Purged
	Description  string
	Device       string
	Module       string // "" when the command was for the device
	GenerationID string // of the device or module
}

// FeedbackBatch is feedback that the hub has put together.
type FeedbackBatch struct {
	Notice
	Records []Feedback
}

// FileNotification says that a device has uploaded a file.
type FileNotification struct {
	Notice
	Device      string
	BlobURI     string
	BlobName    string
	LastUpdated time.Time
	Size        int64
	Uploaded    time.Time
}

// Notice is a delivery of the hub to a back end. One of Complete, Abandon and
// Reject ends it; without, the hub delivers it again after a while, as it does
// when the connection is lost.
type Notice struct {
	MessageID     string
	Hub           string
	Enqueued      time.Time
	DeliveryCount int

	link *amqp.Receiver
	id   uint32
}

// Complete says that it was dealt with. The code of an error of this and the
// other two is DeviceMessageLockLost: the connection it came on is gone.
func (n *Notice) Complete() error { return n.settle(codec.Accepted()) }

// Abandon has it delivered again, to this receiver or another.
func (n *Notice) Abandon() error { return n.settle(codec.Released()) }

// Reject gives it up for good.
func (n *Notice) Reject() error { return n.settle(codec.Rejected(nil)) }

func (n *Notice) settle(s codec.State) error {
	if err := n.link.Err(); err != nil {
		return &causeway.Error{Code: causeway.DeviceMessageLockLost, Op: "settle", Msg: "the connection that it came on is gone; it will be delivered again", Err: err}
	}
	n.link.Settle(n.id, s)
	n.link.Conn().Push()
	return nil
}

// FeedbackReceiver receives feedback about commands. Several receivers share
// what there is. It is safe for concurrent use.
type FeedbackReceiver struct{ notices[FeedbackBatch] }

// FileReceiver receives notifications of files. Several receivers share what
// there is. It is safe for concurrent use.
type FileReceiver struct{ notices[FileNotification] }

// Feedback begins to receive feedback.
func (m *Messaging) Feedback(ctx context.Context) (*FeedbackReceiver, error) {
	r := &FeedbackReceiver{notices[FeedbackBatch]{m: m, address: hubamqp.FeedbackAddress, decode: decodeFeedback}}
	return r, r.begin(ctx)
}

// FileNotifications begins to receive notifications of files.
func (m *Messaging) FileNotifications(ctx context.Context) (*FileReceiver, error) {
	r := &FileReceiver{notices[FileNotification]{m: m, address: hubamqp.FileNotificationsAddress, decode: decodeFile}}
	return r, r.begin(ctx)
}

// Receive waits for the next batch. It reconnects while ctx lasts; the error
// tells when that is of no use. Codes: IotHubUnauthorized.
func (r *FeedbackReceiver) Receive(ctx context.Context) (*FeedbackBatch, error) { return r.next(ctx) }

// Close ends receiving. What was not settled is delivered again.
func (r *FeedbackReceiver) Close() { r.end() }

// Receive waits for the next notification, as FeedbackReceiver.Receive does.
func (r *FileReceiver) Receive(ctx context.Context) (*FileNotification, error) { return r.next(ctx) }

// Close ends receiving. What was not settled is delivered again.
func (r *FileReceiver) Close() { r.end() }

// notices is a link that T comes on.
type notices[T any] struct {
	m       *Messaging
	address string
	decode  func(payload []byte) (*T, *Notice, error)

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	gate   chan struct{} // held while the link is made
	link   *amqp.Receiver
	inbox  *amqp.Inbox
}

func (r *notices[T]) begin(ctx context.Context) error {
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.gate = make(chan struct{}, 1)
	if _, _, err := r.attach(ctx); err != nil {
		return opError("receive from "+r.address, err)
	}
	return nil
}

// attach returns the link, a new one if the last was lost.
func (r *notices[T]) attach(ctx context.Context) (*amqp.Receiver, *amqp.Inbox, error) {
	select {
	case r.gate <- struct{}{}:
		defer func() { <-r.gate }()
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	if r.ctx.Err() != nil {
		return nil, nil, ErrClosed
	}
	if r.link != nil && r.link.Err() == nil {
		return r.link, r.inbox, nil
	}
	c, err := r.m.back.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	s, err := c.Begin(ctx)
	if err != nil {
		return nil, nil, err
	}
	inbox := &amqp.Inbox{}
	link, err := s.AttachReceiver(ctx, amqp.LinkConfig{Source: r.address}, amqp.ReceiverOptions{
		Handler: inbox, Credit: noticeCredit, Properties: linkProperties(r.m.back.o, hubamqp.LinkProperties{}),
	})
	if err != nil {
		_ = s.End(nil) // it may have ended already
		return nil, nil, err
	}
	r.link, r.inbox = link, inbox
	return link, inbox, nil
}

func (r *notices[T]) next(ctx context.Context) (*T, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.ctx, func() { cancel(ErrClosed) })()
	var again pauses
	for {
		link, inbox, err := r.attach(ctx)
		if err == nil {
			again.reset()
			var d amqp.Delivery
			if d, err = inbox.Receive(ctx); err == nil {
				v, n, err := r.decode(d.Payload)
				if err == nil {
					n.link, n.id = link, d.ID
					return v, nil
				}
				r.m.back.o.log().Warn("a message of the hub cannot be read", "address", r.address, "error", err)
				link.Settle(d.ID, codec.Rejected(hubamqp.ConditionOf(err)))
				link.Conn().Push()
				continue
			}
		}
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case lasting(err):
			return nil, opError("receive from "+r.address, err)
		}
		r.m.back.o.log().Warn("connection lost", "address", r.address, "error", err)
		if again.wait(ctx) != nil {
			return nil, context.Cause(ctx)
		}
	}
}

// end ends the receiver; it waits for no answer of the hub.
func (r *notices[T]) end() {
	r.cancel()
	r.gate <- struct{}{}
	defer func() { <-r.gate }()
	if r.link != nil {
		_ = r.link.Session().End(nil) // it may have ended already
	}
}

func notice(n hubamqp.Notice) Notice {
	return Notice{MessageID: n.MessageID, Hub: n.Hub, Enqueued: n.Enqueued, DeliveryCount: n.DeliveryCount}
}

func decodeFeedback(payload []byte) (*FeedbackBatch, *Notice, error) {
	records, n, err := hubamqp.DecodeFeedback(payload)
	if err != nil {
		return nil, nil, err
	}
	b := &FeedbackBatch{Notice: notice(n)}
	for _, r := range records {
		b.Records = append(b.Records, Feedback{r.OriginalMessageID, r.Time, r.Status, r.Description, r.Device, r.Module, r.GenerationID})
	}
	return b, &b.Notice, nil
}

func decodeFile(payload []byte) (*FileNotification, *Notice, error) {
	f, n, err := hubamqp.DecodeFileNotification(payload)
	if err != nil {
		return nil, nil, err
	}
	v := &FileNotification{
		Notice: notice(n), Device: f.Device, BlobURI: f.BlobURI, BlobName: f.BlobName,
		LastUpdated: f.LastUpdated, Size: f.Size, Uploaded: f.Enqueued,
	}
	return v, &v.Notice, nil
}

package outbox

import (
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/c2d"
)

// Kind says which of the two queues of a hub is meant.
type Kind uint8

// The kinds.
const (
	Feedback          Kind = iota // outcomes of cloud-to-device messages, many in one message
	FileNotifications             // uploaded files, one in each message

	kinds = 2
)

// String returns the kind as labels of metrics and logs name it.
func (k Kind) String() string {
	switch k {
	case Feedback:
		return "feedback"
	case FileNotifications:
		return "fileNotifications"
	}
	return "unknown"
}

// Delivery is one message in the hands of a receiver, who settles it by its
// Lock. It belongs to the receiver.
type Delivery struct {
	Lock          causeway.LockToken
	ID            string    // message-id: the same each time the message is delivered
	Sequence      int64     // position: rising within a queue, never used twice
	Enqueued      time.Time // when the message was made
	DeliveryCount int       // abandoned deliveries so far
	Records       []FeedbackRecord
	File          *FileNotification // of a delivery of FileNotifications; nil otherwise
}

// FeedbackRecord is the outcome of one cloud-to-device message whose sender
// asked for it. As JSON it is a record as IoT Hub writes them.
type FeedbackRecord struct {
	OriginalMessageID string
	Time              time.Time // of the outcome
	Status            c2d.Status
	DeviceID          string
	ModuleID          string // "" for a device
	GenerationID      string // of the device, or the module
}

// Description says in words what became of the message.
func (r FeedbackRecord) Description() string {
	switch r.Status {
	case c2d.Success:
		return "Success"
	case c2d.Expired:
		return "Message expired"
	case c2d.DeliveryCountExceeded:
		return "Maximum delivery count exceeded"
	case c2d.RejectedByDevice:
		return "Message rejected by device"
	case c2d.Purged:
		return "Message purged"
	}
	return string(r.Status)
}

// FileNotification says that a device has uploaded a file. As JSON it is a
// notification as IoT Hub writes them.
type FileNotification struct {
	DeviceID string
	BlobURI  string
	BlobName string    // within its container: {device}/{path}
	Modified time.Time // of the file
	Size     int64     // bytes
	Enqueued time.Time // of the notification; given by Notify
}

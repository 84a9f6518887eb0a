package hubamqp

import (
	"encoding/json"
	"math"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// The content types of what a hub tells services. Clients compare them.
const (
	FeedbackContentType         = "application/vnd.microsoft.iothub.feedback.json"
	FileNotificationContentType = "application/vnd.microsoft.iothub.filenotification.json"
)

// Feedback is a record of the outcome of a cloud-to-device message.
type Feedback struct {
	OriginalMessageID string
	Time              time.Time // of the outcome
	Status            string    // Success, Expired, DeliveryCountExceeded, Rejected, Purged
	Description       string    // the status when empty
	Device            string
	GenerationID      string
	Module            string // "" for a command to a device
}

// FileNotification says that a device has uploaded a file.
type FileNotification struct {
	Device      string
	BlobURI     string
	BlobName    string
	LastUpdated time.Time
	Size        int64
	Enqueued    time.Time
}

// Notice is what messages to services have around their body. Their delivery tag
// is that of a lock, as for commands; see [DeliveryTag].
type Notice struct {
	MessageID     string
	Hub           string    // name of the hub, told as the user
	Enqueued      time.Time // must be there: clients depend on it
	Sequence      int64
	DeliveryCount int
}

// jsonFeedback and jsonFile are the JSON forms.
type (
	jsonFeedback struct {
		OriginalMessageID  string `json:"originalMessageId"`
		EnqueuedTimeUTC    string `json:"enqueuedTimeUtc"`
		StatusCode         string `json:"statusCode"`
		Description        string `json:"description"`
		DeviceID           string `json:"deviceId"`
		ModuleID           string `json:"moduleId,omitempty"`
		DeviceGenerationID string `json:"deviceGenerationId"`
	}
	jsonFile struct {
		DeviceID        string `json:"deviceId"`
		BlobURI         string `json:"blobUri"`
		BlobName        string `json:"blobName"`
		LastUpdatedTime string `json:"lastUpdatedTime"`
		BlobSizeInBytes int64  `json:"blobSizeInBytes"`
		EnqueuedTimeUTC string `json:"enqueuedTimeUtc"`
	}
)

// fileTimeLayout is how the time of a file is written, in UTC.
const fileTimeLayout = "2006-01-02T15:04:05+00:00"

// FeedbackBody returns the body of a message with the given records, a JSON
// array.
func FeedbackBody(records []Feedback) []byte {
	out := make([]jsonFeedback, len(records))
	for i, r := range records {
		if r.Description == "" {
			r.Description = r.Status
		}
		out[i] = jsonFeedback{r.OriginalMessageID, r.Time.UTC().Format(hubjson.Ticks), r.Status, r.Description, r.Device, r.Module, r.GenerationID}
	}
	return hubjson.Must(out)
}

// FileNotificationBody returns the body of a message about a file, a JSON object.
func FileNotificationBody(f FileNotification) []byte {
	return hubjson.Must(jsonFile{f.Device, f.BlobURI, f.BlobName, f.LastUpdated.UTC().Format(fileTimeLayout), f.Size, f.Enqueued.UTC().Format(hubjson.Ticks)})
}

// AppendFeedback appends a message of which the body is a [FeedbackBody].
func AppendFeedback(dst, body []byte, n Notice) []byte {
	return appendNotice(dst, body, n, FeedbackContentType, FeedbackAddress)
}

// AppendFileNotification appends a message of which the body is a
// [FileNotificationBody].
func AppendFileNotification(dst, body []byte, n Notice) []byte {
	return appendNotice(dst, body, n, FileNotificationContentType, FileNotificationsAddress)
}

func appendNotice(dst, body []byte, n Notice, contentType, to string) []byte {
	w := codec.NewWriter(dst)
	w.Map(codec.CodeMessageAnnotations)
	w.Symbol(annEnqueued)
	w.Timestamp(codec.TimestampOf(n.Enqueued))
	w.Symbol(annSequence)
	w.Ulong(uint64(max(n.Sequence, 0)))
	w.Symbol(annDeliveryCount)
	w.Ubyte(uint8(min(max(n.DeliveryCount, 0), math.MaxUint8)))
	w.End()
	writeProperties(&w, &causeway.Message{
		ID: n.MessageID, UserID: n.Hub, ContentType: contentType, ContentEncoding: "utf-8",
	}, to)
	w.Data(body)
	return w.Bytes()
}

// DecodeFeedback reads a message of feedback. The records point into nothing.
// Errors: IotHubFormatError, ArgumentInvalid.
func DecodeFeedback(payload []byte) ([]Feedback, Notice, error) {
	var in []jsonFeedback
	n, err := decodeNotice(payload, FeedbackContentType, &in)
	if err != nil {
		return nil, n, err
	}
	records := make([]Feedback, len(in))
	for i, r := range in {
		records[i] = Feedback{r.OriginalMessageID, parseTime(r.EnqueuedTimeUTC), r.StatusCode, r.Description, r.DeviceID, r.DeviceGenerationID, r.ModuleID}
	}
	return records, n, nil
}

// DecodeFileNotification reads a message about a file. Errors: IotHubFormatError,
// ArgumentInvalid.
func DecodeFileNotification(payload []byte) (FileNotification, Notice, error) {
	var in jsonFile
	n, err := decodeNotice(payload, FileNotificationContentType, &in)
	if err != nil {
		return FileNotification{}, n, err
	}
	return FileNotification{in.DeviceID, in.BlobURI, in.BlobName, parseTime(in.LastUpdatedTime), in.BlobSizeInBytes, parseTime(in.EnqueuedTimeUTC)}, n, nil
}

// parseTime reads a time in JSON; what is none is the zero time.
func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

func decodeNotice(payload []byte, contentType string, into any) (Notice, error) {
	const op = "amqp.notice"
	var x codec.Message
	var m causeway.Message
	var s Scratch
	if err := decode(op, &x, &m, &s, payload); err != nil {
		return Notice{}, err
	}
	n := Notice{MessageID: string(append([]byte(nil), m.ID...)), Hub: string(append([]byte(nil), m.UserID...))}
	for k, v := range x.MessageAnnotations.All() {
		switch name, _ := k.Text(); name {
		case annEnqueued:
			n.Enqueued = stamp(v)
		case annSequence:
			n.Sequence, _ = v.Int64()
		case annDeliveryCount:
			n.DeliveryCount, _ = status(v)
		}
	}
	if m.ContentType != contentType {
		return n, causeway.Errorf(causeway.ArgumentInvalid, op, "content type %q instead of %s", cut(m.ContentType), contentType)
	}
	if err := json.Unmarshal(m.Body, into); err != nil {
		return n, &causeway.Error{Code: causeway.DeserializationError, Op: op, Msg: "the body is not the JSON that its content type says", Err: err}
	}
	return n, nil
}

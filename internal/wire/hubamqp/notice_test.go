package hubamqp_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

var notice = hubamqp.Notice{MessageID: "n1", Hub: "hub", Enqueued: at, Sequence: 3, DeliveryCount: 2}

func TestFeedback(t *testing.T) {
	records := []hubamqp.Feedback{
		{OriginalMessageID: "m1", Time: at, Status: "Success", Device: "dev1", GenerationID: "g1"},
		{OriginalMessageID: `m"2`, Time: at.In(time.FixedZone("", 3600)), Status: "Expired", Description: "too <late>", Device: "dev1", GenerationID: "g1"},
	}
	raw := hubamqp.FeedbackBody(records)
	want := `[{"originalMessageId":"m1","enqueuedTimeUtc":"2026-05-06T07:08:09.0100000Z","statusCode":"Success","description":"Success","deviceId":"dev1","deviceGenerationId":"g1"},` +
		`{"originalMessageId":"m\"2","enqueuedTimeUtc":"2026-05-06T07:08:09.0100000Z","statusCode":"Expired","description":"too <late>","deviceId":"dev1","deviceGenerationId":"g1"}]`
	if string(raw) != want {
		t.Errorf("body\n%s\nwant\n%s", raw, want)
	}
	if b := hubamqp.FeedbackBody(nil); string(b) != "[]" {
		t.Errorf("no records are %s", b)
	}
	b := hubamqp.AppendFeedback(nil, raw, notice)
	x := parse(t, b)
	p := x.Properties
	if !p.MessageID.Equal(codec.String("n1")) || p.ContentType != "application/vnd.microsoft.iothub.feedback.json" || p.ContentEncoding != "utf-8" ||
		string(p.UserID) != "hub" || p.To != "/messages/serviceBound/feedback" {
		t.Errorf("properties %+v", p)
	}
	if d := cmp.Diff([]string{
		`symbol iothub-enqueuedtime: timestamp 2026-05-06T07:08:09.01Z`, `symbol x-opt-sequence-number: ulong 3`, `symbol iothub-deliverycount: ubyte 2`,
	}, entries(x.MessageAnnotations)); d != "" {
		t.Errorf("annotations (-want +got):\n%s", d)
	}
	if content, ok := x.Body.Bytes(); !ok || string(content) != want {
		t.Errorf("data %q", content)
	}

	got, n, err := hubamqp.DecodeFeedback(b)
	records[0].Description, records[1].Time = "Success", at
	if d := cmp.Diff(records, got); d != "" || err != nil || n != notice {
		t.Errorf("%+v, %v (-sent +got):\n%s", n, err, d)
	}
}

func TestFileNotification(t *testing.T) {
	f := hubamqp.FileNotification{
		Device: "dev1", BlobURI: "https://blobs.example.com/c/dev1/x.txt?a=1&b=2", BlobName: "dev1/x.txt", LastUpdated: at.Truncate(time.Second), Size: 123, Enqueued: at,
	}
	raw := hubamqp.FileNotificationBody(f)
	want := `{"deviceId":"dev1","blobUri":"https://blobs.example.com/c/dev1/x.txt?a=1&b=2","blobName":"dev1/x.txt",` +
		`"lastUpdatedTime":"2026-05-06T07:08:09+00:00","blobSizeInBytes":123,"enqueuedTimeUtc":"2026-05-06T07:08:09.0100000Z"}`
	if string(raw) != want {
		t.Errorf("body\n%s\nwant\n%s", raw, want)
	}
	b := hubamqp.AppendFileNotification(nil, raw, notice)
	p := parse(t, b).Properties
	if p.ContentType != "application/vnd.microsoft.iothub.filenotification.json" || p.ContentEncoding != "utf-8" || string(p.UserID) != "hub" ||
		p.To != "/messages/serviceBound/filenotifications" {
		t.Errorf("properties %+v", p)
	}
	got, n, err := hubamqp.DecodeFileNotification(b)
	if err != nil || got != f || n != notice {
		t.Errorf("%+v, %+v, %v", got, n, err)
	}
}

func TestRefuseNotice(t *testing.T) {
	feedback := hubamqp.AppendFeedback(nil, []byte("[]"), notice)
	_, _, err := hubamqp.DecodeFileNotification(feedback)
	wantErr(t, err, causeway.ArgumentInvalid, "content type")
	_, _, err = hubamqp.DecodeFeedback(hubamqp.AppendFeedback(nil, []byte("{"), notice))
	wantErr(t, err, causeway.DeserializationError, "the body is not the JSON")
	_, _, err = hubamqp.DecodeFeedback([]byte("x"))
	wantErr(t, err, causeway.IotHubFormatError, "cannot be read")
	got, n, err := hubamqp.DecodeFeedback(hubamqp.AppendFeedback(nil, []byte(`[{"enqueuedTimeUtc":"yesterday"}]`), hubamqp.Notice{DeliveryCount: -1, Sequence: -1, Enqueued: at}))
	if err != nil || len(got) != 1 || !got[0].Time.IsZero() || n.Sequence != 0 || n.DeliveryCount != 0 {
		t.Errorf("%+v, %+v, %v", got, n, err)
	}
}

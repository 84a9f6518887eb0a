package storage

import (
	"compress/flate"
	"io"
	"iter"

	"github.com/twmb/avro"
	"github.com/twmb/avro/ocf"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
	"github.com/causeway-iot/causeway/internal/wire/routed"
)

// schema is that of IoT Hub's files.
const schema = `{"type":"record","name":"Record","namespace":"Microsoft.Azure.Devices.Routing","fields":[` +
	`{"name":"EnqueuedTimeUtc","type":"string"},` +
	`{"name":"Properties","type":{"type":"map","values":"string"}},` +
	`{"name":"SystemProperties","type":{"type":"map","values":"string"}},` +
	`{"name":"Body","type":["null","bytes"]}]}`

// blockBytes is about how large the blocks of a file are, which a reader takes
// into memory one by one.
const blockBytes = 256 << 10

// record is a message in an Avro file. The body is the bytes that were sent.
type record struct {
	EnqueuedTimeUtc  string            `avro:"EnqueuedTimeUtc"`
	Properties       map[string]string `avro:"Properties"`
	SystemProperties map[string]string `avro:"SystemProperties"`
	Body             *[]byte           `avro:"Body"`
}

// writeAvro writes messages as an object container file.
func writeAvro(w io.Writer, messages iter.Seq2[*causeway.Message, error], deflated bool) error {
	s, err := avro.Parse(schema)
	if err != nil {
		return err
	}
	options := []ocf.WriterOpt{ocf.WithBlockBytes(blockBytes)}
	if deflated {
		options = append(options, ocf.WithCodec(ocf.DeflateCodec(flate.DefaultCompression)))
	}
	out, err := ocf.NewWriter(w, s, options...)
	if err != nil {
		return err
	}
	for m, err := range messages {
		if err != nil {
			return err
		}
		if err := out.Encode(&record{
			EnqueuedTimeUtc: routed.Time(m.Enqueued), Properties: routed.Properties(m), SystemProperties: routed.SystemProperties(m), Body: &m.Body,
		}); err != nil {
			return err
		}
	}
	return out.Close()
}

// writeLines writes messages as JSON, one a line.
func writeLines(w io.Writer, messages iter.Seq2[*causeway.Message, error]) error {
	for m, err := range messages {
		if err != nil {
			return err
		}
		line, err := hubjson.Marshal(routed.NewRecord(m))
		if err != nil {
			return err
		}
		if _, err := w.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	return nil
}

// Package storage is the sink that writes messages down in files of a container,
// as IoT Hub's storage endpoints do: Avro object container files, or lines of
// JSON, each with what came to one partition in some minutes.
//
// A chunk that is written again, after an error or a crash, gets the same name
// and replaces what was there. Nothing else is replaced: where another endpoint
// has a file of the name, or somebody has put one there, it gets a longer name.
package storage

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/plugin"
)

// The encodings.
const (
	Avro        = "avro"
	AvroDeflate = "avrodeflate"
	JSON        = "json"
)

// DefaultFileNameFormat is how files are called.
const DefaultFileNameFormat = "{iothub}/{partition}/{YYYY}/{MM}/{DD}/{HH}/{mm}"

// parts are what a name of a file must have in it.
var parts = []string{"{iothub}", "{partition}", "{YYYY}", "{MM}", "{DD}", "{HH}", "{mm}"}

// containerForm is what containers may be called.
var containerForm = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// Config is the settings of a storage endpoint, with the names that a hub
// resource has for them.
type Config struct {
	Container string `json:"containerName" doc:"container of the hub's blobs; it is made when there is none" example:"telemetry"`
	Encoding  string `json:"encoding" doc:"what files hold: Avro object container files, plain or deflated, or lines of JSON" default:"avro" oneof:"avro avrodeflate json"`
	Format    string `json:"fileNameFormat" doc:"how files are called, without their extension; it must have all of {iothub} {partition} {YYYY} {MM} {DD} {HH} {mm} in it, in any order" default:"{iothub}/{partition}/{YYYY}/{MM}/{DD}/{HH}/{mm}"`
	Seconds   int    `json:"batchFrequencyInSeconds" doc:"after how long a file is written, 60 to 720" default:"300"`
	Bytes     int    `json:"maxChunkSizeInBytes" doc:"with how many bytes of messages a file is written before that, 10485760 to 524288000" default:"314572800"`
}

// Validate reports what is wrong with c.
func (c *Config) Validate() error {
	switch {
	case !containerForm.MatchString(c.Container) || len(c.Container) < 3 || len(c.Container) > 63:
		return fmt.Errorf("setting %q is %q: it must be 3 to 63 lower-case letters, digits and single hyphens between them", "containerName", c.Container)
	case c.Seconds < 60 || c.Seconds > 720:
		return fmt.Errorf("setting %q is %d: it must be 60 to 720", "batchFrequencyInSeconds", c.Seconds)
	case c.Bytes < 10<<20 || c.Bytes > 500<<20:
		return fmt.Errorf("setting %q is %d: it must be 10485760 to 524288000", "maxChunkSizeInBytes", c.Bytes)
	case len(c.Format) > 512:
		return fmt.Errorf("setting %q has %d characters, at most 512 may be", "fileNameFormat", len(c.Format))
	}
	rest := c.Format
	for _, p := range parts {
		if strings.Count(c.Format, p) != 1 {
			return fmt.Errorf("setting %q is %q: it must have each of %s in it once", "fileNameFormat", c.Format, strings.Join(parts, " "))
		}
		rest = strings.Replace(rest, p, "", 1)
	}
	if strings.ContainsAny(rest, "{}\\?#%") || strings.Contains(c.Format, "//") || strings.HasPrefix(c.Format, "/") || strings.Contains(rest, "..") {
		return fmt.Errorf("setting %q is %q: besides its parts it may have letters, digits and separators such as / - _ in it", "fileNameFormat", c.Format)
	}
	return nil
}

// Sink writes files. Use New.
type Sink struct {
	c   Config
	env plugin.Env
}

var _ plugin.Archiver = (*Sink)(nil)

// New returns a sink.
func New(c Config, env plugin.Env) (plugin.Sink, error) {
	if env.Container == nil {
		return nil, errors.New("this server has no blob store")
	}
	return &Sink{c: c, env: env}, nil
}

// Window returns when a file is written.
func (s *Sink) Window() plugin.Window {
	return plugin.Window{Age: time.Duration(s.c.Seconds) * time.Second, Bytes: int64(s.c.Bytes)}
}

// Close has nothing to do.
func (s *Sink) Close() error { return nil }

// Send writes a batch as a file of its own.
func (s *Sink) Send(ctx context.Context, batch []causeway.Message) error {
	if len(batch) == 0 {
		return nil
	}
	return s.Archive(ctx, plugin.Chunk{First: batch[0].Sequence, Time: batch[0].Enqueued, Follows: batch[0].Enqueued, Messages: func(yield func(*causeway.Message, error) bool) {
		for i := range batch {
			if !yield(&batch[i], nil) {
				return
			}
		}
	}})
}

// Archive writes a chunk.
func (s *Sink) Archive(ctx context.Context, c plugin.Chunk) error {
	to, err := s.env.Container(s.c.Container)
	if err != nil {
		return fmt.Errorf("container %s: %w", s.c.Container, err)
	}
	of := s.of(c)
	for _, name := range s.names(c, of) {
		err = s.put(ctx, to, name, of, c)
		if !errors.Is(err, plugin.ErrTaken) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("container %s: %w", s.c.Container, err)
	}
	return nil
}

// put writes a chunk under a name.
func (s *Sink) put(ctx context.Context, to plugin.Container, name, of string, c plugin.Chunk) error {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.CloseWithError(s.write(w, c.Messages))
	}()
	err := to.Put(ctx, name, s.contentType(), of, r)
	_ = r.CloseWithError(errors.New("nobody reads on")) // always nil
	<-done
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// of names a chunk among those of all endpoints that there ever were: by where it
// begins in the queue, and when that message came.
func (s *Sink) of(c plugin.Chunk) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d\x00%d\x00%d", s.env.Hub, s.env.Endpoint, c.Partition, c.First, c.Time.UnixNano()))
	return hex.EncodeToString(sum[:8])
}

// write writes messages in the encoding of the sink.
func (s *Sink) write(w io.Writer, messages iter.Seq2[*causeway.Message, error]) error {
	b := bufio.NewWriterSize(w, 64<<10)
	var err error
	if s.c.Encoding == JSON {
		err = writeLines(b, messages)
	} else {
		err = writeAvro(b, messages, s.c.Encoding == AvroDeflate)
	}
	if err != nil {
		return err
	}
	return b.Flush()
}

func (s *Sink) contentType() string {
	if s.c.Encoding == JSON {
		return "application/json"
	}
	return "avro/binary"
}

// names returns what the file of a chunk may be called, the best first: after the
// minute in which its first message came. A chunk that begins in the minute in
// which the one before it ends has the position of its first message too: that one
// may have the name. The longer names are for when another file has the others.
func (s *Sink) names(c plugin.Chunk, of string) []string {
	at := c.Time.UTC()
	name := strings.NewReplacer(
		"{iothub}", s.env.Hub, "{partition}", strconv.Itoa(c.Partition),
		"{YYYY}", at.Format("2006"), "{MM}", at.Format("01"), "{DD}", at.Format("02"), "{HH}", at.Format("15"), "{mm}", at.Format("04"),
	).Replace(s.c.Format)
	extension := ".avro"
	if s.c.Encoding == JSON {
		extension = ".json"
	}
	first := name + "-" + strconv.FormatInt(c.First, 10)
	all := []string{name + extension, first + extension, first + "-" + of + extension}
	if !c.Follows.IsZero() && c.Follows.UTC().Truncate(time.Minute).Equal(at.Truncate(time.Minute)) {
		return all[1:]
	}
	return all
}

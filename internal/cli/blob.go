package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"mime"
	"net/http"
	"os"
	"path"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
)

const blobLong = `Blobs are the files that devices upload, and whatever else is kept in the storage
of a hub. CONTAINER/NAME names one; devices put theirs into uploads/DEVICE/.

Storage clients of Azure use the same blobs by an address of 'causeway blob sas'.`

// NewCmdBlob returns the commands about the blobs of a hub.
func NewCmdBlob(st *state.State) *cobra.Command {
	cmd := family("blob", "List, read, write and sign the files in the storage of a hub")
	cmd.Long = blobLong
	l := addLogin(cmd, st)
	cmd.AddCommand(newCmdBlobList(st, l), newCmdBlobGet(st, l), newCmdBlobPut(st, l), newCmdBlobRemove(st, l), newCmdBlobSAS(st, l))
	return cmd
}

// blobName takes CONTAINER/NAME apart.
func blobName(s string) (container, name string, err error) {
	container, name, ok := strings.Cut(s, "/")
	if !ok || container == "" || name == "" {
		return "", "", usagef("%q is no blob: write CONTAINER/NAME", s)
	}
	return container, name, nil
}

func newCmdBlobList(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{
		Use: "list [CONTAINER[/PREFIX]]", Aliases: []string{"ls"}, Short: "List containers, or the blobs in one",
		Args:    cobra.MaximumNArgs(1),
		Example: "  causeway blob list\n  causeway blob list uploads/press-1/",
	}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		container, prefix := "", ""
		if len(args) > 0 {
			container, prefix, _ = strings.Cut(args[0], "/")
		}
		return l.withBlobs(cmd.Context(), func(ctx context.Context, b *blobs) error {
			list := []listedBlob{}
			if err := b.list(ctx, container, prefix, func(x listedBlob) { list = append(list, x) }); err != nil {
				return err
			}
			return out.print(list, func(t *table) {
				if container == "" {
					t.row("CONTAINER", "CREATED")
					for _, x := range list {
						t.row(x.Name, x.Modified)
					}
					return
				}
				t.row("BLOB", "SIZE", "MODIFIED", "TYPE")
				for _, x := range list {
					t.row(x.Name, x.Size, x.Modified, x.Type)
				}
			})
		})
	}
	return cmd
}

func newCmdBlobGet(st *state.State, l *login) *cobra.Command {
	return &cobra.Command{
		Use: "get CONTAINER/NAME [FILE]", Short: "Read a blob into a file, or to the standard output", Args: cobra.RangeArgs(1, 2),
		Example: "  causeway blob get uploads/press-1/log.txt log.txt",
		RunE: func(cmd *cobra.Command, args []string) error {
			container, name, err := blobName(args[0])
			if err != nil {
				return err
			}
			return l.withBlobs(cmd.Context(), func(ctx context.Context, b *blobs) (err error) {
				res, err := b.request(ctx, http.MethodGet, client.BlobGrant{Container: container, Blob: name, Permissions: "r"}, nil, nil, 0, nil)
				if err != nil {
					return err
				}
				defer res.Body.Close()
				w := st.Stdout
				if len(args) > 1 && args[1] != "-" {
					f, end, openErr := openWhole(st.Path(args[1]))
					if openErr != nil {
						return openErr
					}
					defer func() { err = end(err) }()
					w = f
				}
				if _, err := io.Copy(w, res.Body); err != nil {
					return fmt.Errorf("read the blob: %w", err)
				}
				return nil
			})
		},
	}
}

// openWhole opens a file that gets its name only once it is whole: what fails half
// way leaves neither a part nor the loss of what was there. end is given how it
// went. What is no file, such as a pipe, is written as it is.
func openWhole(path string) (f *os.File, end func(error) error, err error) {
	name := path
	if info, err := os.Stat(path); err != nil || info.Mode().IsRegular() {
		name = fmt.Sprintf("%s.%08x.part", path, rand.Uint32()) //nolint:gosec // no secret
	}
	if f, err = os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644); err != nil {
		if e, ok := errors.AsType[*fs.PathError](err); ok {
			err = e.Err
		}
		return nil, nil, fmt.Errorf("write %s: %w", path, err)
	}
	return f, func(err error) error {
		err = cmp.Or(err, f.Close())
		switch {
		case name == path:
			return err
		case err == nil:
			err = os.Rename(name, path)
		}
		if err != nil {
			os.Remove(name)
		}
		return err
	}, nil
}

func newCmdBlobPut(st *state.State, l *login) *cobra.Command {
	var contentType string
	cmd := &cobra.Command{
		Use: "put FILE CONTAINER/NAME", Short: "Store a file as a blob", Args: exactArgs("FILE", "CONTAINER/NAME"),
		Long:    "Stores a file, in place of what has the name, and makes the container if there is\nnone. A NAME that ends in a slash gets that of the file.",
		Example: "  causeway blob put firmware.bin images/press/",
		RunE: func(cmd *cobra.Command, args []string) error {
			target := args[1]
			if strings.HasSuffix(target, "/") {
				target += path.Base(strings.ReplaceAll(args[0], `\`, "/"))
			}
			container, name, err := blobName(target)
			if err != nil {
				return err
			}
			info, err := os.Stat(st.Path(args[0]))
			if err != nil {
				return err
			}
			if !info.Mode().IsRegular() {
				return usagef("%s is no file", args[0])
			}
			if contentType == "" {
				contentType = mime.TypeByExtension(path.Ext(name))
			}
			return l.withBlobs(cmd.Context(), func(ctx context.Context, b *blobs) error {
				err := b.put(ctx, container, name, contentType, info.Size(), func() (io.ReadCloser, error) { return os.Open(st.Path(args[0])) })
				if err != nil {
					return err
				}
				fmt.Fprintf(st.Stderr, "stored %s/%s, %d bytes\n", container, name, info.Size())
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&contentType, "content-type", "", "media `type`; default by the name")
	return cmd
}

func newCmdBlobRemove(st *state.State, l *login) *cobra.Command {
	return &cobra.Command{
		Use: "delete CONTAINER/NAME", Aliases: []string{"rm"}, Short: "Remove a blob", Args: exactArgs("CONTAINER/NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			container, name, err := blobName(args[0])
			if err != nil {
				return err
			}
			return l.withBlobs(cmd.Context(), func(ctx context.Context, b *blobs) error {
				res, err := b.request(ctx, http.MethodDelete, client.BlobGrant{Container: container, Blob: name, Permissions: "d"}, nil, nil, 0, nil)
				if err != nil {
					return err
				}
				res.Body.Close()
				fmt.Fprintf(st.Stderr, "deleted %s/%s\n", container, name)
				return nil
			})
		},
	}
}

func newCmdBlobSAS(st *state.State, l *login) *cobra.Command {
	var permissions string
	var lasts time.Duration
	cmd := &cobra.Command{
		Use: "sas [CONTAINER[/NAME]]", Short: "Print an address by which others may use blobs for a while", Args: cobra.MaximumNArgs(1),
		Long: `Prints an address with a signature: whoever has it may do what it allows. It is
good for a blob, for all of a container, or without either for the whole storage,
containers included.`,
		Example: "  causeway blob sas uploads --permissions rl --for 24h",
	}
	cmd.Flags().StringVar(&permissions, "permissions", "r", "any of the `letters` r(ead), a(ppend), c(reate), w(rite), d(elete), l(ist)")
	cmd.Flags().DurationVar(&lasts, "for", time.Hour, "`time` for which it is good, at most 720h")
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		g := client.BlobGrant{Permissions: permissions, Seconds: int64(lasts.Seconds())}
		if len(args) > 0 {
			g.Container, g.Blob, _ = strings.Cut(args[0], "/")
		}
		switch {
		case strings.Trim(permissions, "racwdl") != "" || permissions == "":
			return usagef("--permissions %q: give any of the letters r, a, c, w, d, l", permissions)
		case lasts < time.Second || lasts > maxSignedHours*time.Hour:
			return usagef("--for %s: give a time up to %dh", lasts, maxSignedHours)
		}
		return l.withBlobs(cmd.Context(), func(ctx context.Context, b *blobs) error {
			access, err := b.admin.SignBlob(ctx, b.hub, g)
			if err != nil {
				return err
			}
			address := "https://" + b.host + access.Path + "?" + access.Query
			return out.print(struct {
				URL     string      `json:"url"`
				Expires client.Time `json:"expires"`
			}{address, access.Expires}, func(*table) { fmt.Fprintln(st.Stdout, address) })
		})
	}
	return cmd
}

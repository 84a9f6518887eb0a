package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
	"github.com/causeway-iot/causeway/internal/core/attestation"
)

// pageOfCertificates is how many certificates are asked for at a time.
const pageOfCertificates = 1000

func revocationHeader(t *table) {
	t.row("ID", "AUTHORITY", "SERIAL NUMBER", "THUMBPRINT", "REASON", "LISTED", "REVOKED")
}

func revocationRow(t *table, r client.Revocation) {
	listed := ""
	if r.Listed {
		listed = "yes"
	}
	t.row(r.ID, r.Certificate, r.SerialNumber, r.Thumbprint, r.Reason, listed, r.Revoked.Time)
}

func newCmdCertRevoke(st *state.State, l *dpsLogin) *cobra.Command {
	var r client.Revoke
	var file string
	cmd := &cobra.Command{
		Use: "revoke", Short: "Revoke a certificate: who shows it is refused", Args: noArgs,
		Long: `Revokes a certificate: a file, a thumbprint, or a serial number with the authority
that issued it. A serial number alone is of a certificate that this service issued;
its device loses it on its hub too.`,
		Example: `  causeway dps cert revoke --file stolen.pem --reason lost
  causeway dps cert revoke --authority plant --serial 1F:0A
  causeway dps cert revoke --serial 3A99…`,
	}
	out := addOutput(cmd, st)
	f := cmd.Flags()
	f.StringVar(&file, "file", "", "`file` with the certificate, PEM or DER")
	f.StringVar(&r.Thumbprint, "thumbprint", "", "its SHA-1 or SHA-256 in `hex`adecimal")
	f.StringVar(&r.SerialNumber, "serial", "", "its serial number in `hex`adecimal")
	f.StringVar(&r.Certificate, "authority", "", "`name` of the authority that issued it")
	f.StringVar(&r.Reason, "reason", "", "`why`, for the record")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		given := 0
		for _, s := range []string{file, r.Thumbprint, r.SerialNumber} {
			if s != "" {
				given++
			}
		}
		switch {
		case given != 1:
			return usagef("pass one of --file, --thumbprint and --serial")
		case r.Certificate != "" && r.SerialNumber == "":
			return usagef("--authority goes with --serial")
		}
		if file != "" {
			text, err := readText(st, file)
			if err != nil {
				return err
			}
			c, err := attestation.ParseCertificate(text)
			if err != nil {
				return fmt.Errorf("read %s: %w", file, err)
			}
			sum := sha256.Sum256(c.Raw)
			r.Thumbprint = hex.EncodeToString(sum[:])
		}
		return l.withOwn(cmd.Context(), nil, func(ctx context.Context, a *client.Admin, name string) error {
			done, err := a.RevokeCertificate(ctx, name, r)
			if err != nil {
				return err
			}
			return out.print(done, func(t *table) {
				revocationHeader(t)
				revocationRow(t, done)
			})
		})
	}
	return cmd
}

func newCmdCertUnrevoke(st *state.State, l *dpsLogin) *cobra.Command {
	return &cobra.Command{
		Use: "unrevoke ID", Short: "Forget a revocation", Args: exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return l.withOwn(cmd.Context(), nil, func(ctx context.Context, a *client.Admin, name string) error {
				if err := a.DeleteRevocation(ctx, name, args[0]); err != nil {
					return err
				}
				fmt.Fprintf(st.Stderr, "forgot revocation %s\n", args[0])
				return nil
			})
		},
	}
}

// pages gathers a list that comes in pages.
func pages[T any](page func(after string) (list []T, next string, err error)) ([]T, error) {
	all := []T{}
	for after := ""; ; {
		list, next, err := page(after)
		if err != nil {
			return nil, err
		}
		if all = append(all, list...); next == "" {
			return all, nil
		}
		after = next
	}
}

func newCmdCertRevoked(st *state.State, l *dpsLogin) *cobra.Command {
	cmd := &cobra.Command{Use: "revoked", Short: "List the certificates that are revoked", Args: noArgs}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return l.withOwn(cmd.Context(), nil, func(ctx context.Context, a *client.Admin, name string) error {
			list, err := pages(func(after string) ([]client.Revocation, string, error) {
				return a.Revocations(ctx, name, after, pageOfCertificates)
			})
			if err != nil {
				return err
			}
			return out.print(list, func(t *table) {
				revocationHeader(t)
				for _, r := range list {
					revocationRow(t, r)
				}
			})
		})
	}
	return cmd
}

func newCmdCertIssued(st *state.State, l *dpsLogin) *cobra.Command {
	var registration string
	cmd := &cobra.Command{Use: "issued", Short: "List the certificates that were issued to devices", Args: noArgs}
	out := addOutput(cmd, st)
	cmd.Flags().StringVar(&registration, "registration-id", "", "only those of the device with this `id`")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return l.withOwn(cmd.Context(), nil, func(ctx context.Context, a *client.Admin, name string) error {
			list, err := pages(func(after string) ([]client.IssuedCertificate, string, error) {
				return a.IssuedCertificates(ctx, name, registration, after, pageOfCertificates)
			})
			if err != nil {
				return err
			}
			return out.print(list, func(t *table) {
				t.row("SERIAL NUMBER", "REGISTRATION", "GROUP", "POLICY", "ENDS", "REVOKED")
				for _, c := range list {
					revoked := ""
					if c.Revoked {
						revoked = "yes"
					}
					t.row(c.SerialNumber, c.RegistrationID, c.EnrollmentGroupID, c.CredentialPolicyName, c.Expiry.Time, revoked)
				}
			})
		})
	}
	return cmd
}

package cli

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// watchInterval is how often a job that is watched is asked for.
const watchInterval = 500 * time.Millisecond

// NewCmdJob returns the commands about jobs.
func NewCmdJob(st *state.State) *cobra.Command {
	cmd := family("job", "Change twins of many devices, call a method of each, export and import identities")
	l := addLogin(cmd, st)
	cmd.AddCommand(
		newCmdJobTwin(st, l), newCmdJobMethod(st, l), newCmdJobList(st, l), newCmdJobShow(st, l), newCmdJobDevices(st, l), newCmdJobCancel(st, l), newCmdJobWatch(st, l),
		newCmdJobExport(st, l), newCmdJobImport(st, l), newCmdJobTransfers(st, l),
	)
	return cmd
}

// jobFlags are what all jobs have.
type jobFlags struct {
	id, where, start string
	window           time.Duration
	wait             bool
}

func (f *jobFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.id, "id", "", "the `id` of the job; a random one when not given")
	fl.StringVarP(&f.where, "where", "w", "", "whom it is for: an `expression` over twins, * for all devices")
	fl.StringVar(&f.start, "start", "", "when to begin, a `time` such as 2024-01-31T12:00:00Z, or a duration from now such as 10m; default now")
	fl.DurationVar(&f.window, "window", time.Hour, "how long the job may work, for devices that are not connected")
	fl.BoolVar(&f.wait, "wait", false, "watch the job until it ends")
}

// job returns a job of the flags.
func (f *jobFlags) job(typ string) (client.Job, error) {
	j := client.Job{ID: f.id, Type: typ, Condition: f.where, WindowSeconds: int64((f.window + time.Second - 1) / time.Second)}
	if j.Condition == "" {
		return j, usagef("say whom the job is for with --where; '*' is all devices")
	}
	if f.window <= 0 {
		return j, usagef("--window must be positive")
	}
	if j.ID == "" {
		j.ID = "job-" + strings.ToLower(rand.Text()[:12])
	}
	if f.start == "" {
		return j, nil
	}
	if d, err := time.ParseDuration(f.start); err == nil {
		j.Start = client.Time{Time: time.Now().Add(d)}
		return j, nil
	}
	at, err := time.Parse(time.RFC3339, f.start)
	if err != nil {
		return j, usagef("--start is neither a time such as 2024-01-31T12:00:00Z nor a duration such as 10m: %q", f.start)
	}
	j.Start = client.Time{Time: at}
	return j, nil
}

const jobHelp = `Whom the job is for is decided once, when it starts. The exit code is 0 when the job
was taken on; with --wait, when no device of it failed.
A value @FILE is read from a file, @- from standard input.`

func newCmdJobTwin(st *state.State, l *login) *cobra.Command {
	var f jobFlags
	var tags, desired, match string
	cmd := &cobra.Command{
		Use: "schedule-twin", Short: "Merge changes into the twins of many devices", Args: noArgs, Long: jobHelp,
		Example: "  causeway job schedule-twin --where \"tags.site = 'north'\" --desired '{\"interval\": 30}' --wait",
	}
	f.add(cmd)
	out := addOutput(cmd, st)
	addMatch(cmd, &match)
	cmd.Flags().StringVar(&tags, "tags", "", "`JSON` object of tags")
	cmd.Flags().StringVar(&desired, "desired", "", "`JSON` object of desired properties")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		j, err := f.job(client.JobUpdateTwin)
		if err != nil {
			return err
		}
		j.Twin = &client.JobTwin{ETag: match}
		if j.Twin.Tags, err = jsonFlag(st, "--tags", tags); err != nil {
			return err
		}
		d, err := jsonFlag(st, "--desired", desired)
		if err != nil {
			return err
		}
		if d != nil {
			j.Twin.Properties = &client.JobDesired{Desired: d}
		}
		if j.Twin.Tags == nil && d == nil {
			return usagef("nothing to change: pass --tags, --desired or both")
		}
		return createJob(cmd.Context(), st, l, out, j, f.wait)
	}
	return cmd
}

func newCmdJobMethod(st *state.State, l *login) *cobra.Command {
	var f jobFlags
	var payload string
	var response time.Duration
	cmd := &cobra.Command{
		Use: "schedule-method METHOD", Short: "Call a method of many devices", Args: exactArgs("METHOD"), Long: jobHelp,
		Example: "  causeway job schedule-method reboot --where '*' --start 10m --window 2h",
	}
	f.add(cmd)
	out := addOutput(cmd, st)
	cmd.Flags().StringVarP(&payload, "payload", "p", "", "`JSON` argument; default null")
	cmd.Flags().DurationVar(&response, "timeout", causeway.DefaultMethodWait, "how long to wait for the answer of a device, 5s to 5m")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		j, err := f.job(client.JobDeviceMethod)
		if err != nil {
			return err
		}
		body, err := jsonFlag(st, "--payload", payload)
		if err != nil {
			return err
		}
		j.Method = &client.JobMethod{Name: args[0], Payload: body, ResponseSeconds: int(response.Seconds())}
		return createJob(cmd.Context(), st, l, out, j, f.wait)
	}
	return cmd
}

func createJob(ctx context.Context, st *state.State, l *login, out *output, j client.Job, wait bool) error {
	return l.with(ctx, func(ctx context.Context, s *client.Service) error {
		created, err := s.CreateJob(ctx, j)
		if err != nil {
			return err
		}
		if wait {
			return watchJob(ctx, st, s, out, created.ID)
		}
		return out.print(created, func(t *table) { jobTable(t, created) })
	})
}

func jobTable(t *table, j client.Job) {
	t.row("job", j.ID)
	t.row("type", j.Type)
	t.row("for", j.Condition)
	t.row("status", j.Status)
	if j.FailureReason != "" {
		t.row("reason", j.FailureReason)
	}
	t.row("created", j.Created.Local().Format(time.DateTime))
	t.row("start", j.Start.Local().Format(time.DateTime))
	if !j.End.IsZero() {
		t.row("end", j.End.Local().Format(time.DateTime))
	}
	n := j.Statistics
	t.row("devices", fmt.Sprintf("%d: %d succeeded, %d failed, %d running, %d pending", n.Devices, n.Succeeded, n.Failed, n.Running, n.Pending))
}

func newCmdJobList(st *state.State, l *login) *cobra.Command {
	var typ, status string
	var top int
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List jobs, the newest first", Args: noArgs}
	out := addOutput(cmd, st)
	cmd.Flags().StringVar(&typ, "type", "", "only jobs of this `type`: scheduleUpdateTwin or scheduleDeviceMethod")
	cmd.Flags().StringVar(&status, "status", "", "only jobs of this `status`: queued, scheduled, running, completed, failed or cancelled")
	cmd.Flags().IntVar(&top, "top", 0, "at most so many")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			all := []client.Job{}
			for token := ""; ; {
				limit := causeway.MaxPageSize
				if top > 0 {
					limit = min(limit, top-len(all))
				}
				page, next, err := s.Jobs(ctx, typ, status, limit, token)
				if err != nil {
					return err
				}
				if all = append(all, page...); next == "" || top > 0 && len(all) >= top {
					break
				}
				token = next
			}
			return out.print(all, func(t *table) {
				t.row("JOB", "TYPE", "STATUS", "START", "DEVICES", "SUCCEEDED", "FAILED")
				for _, j := range all {
					n := j.Statistics
					t.row(j.ID, j.Type, j.Status, j.Start.Local().Format(time.DateTime), n.Devices, n.Succeeded, n.Failed)
				}
			})
		})
	}
	return cmd
}

func newCmdJobShow(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{Use: "show JOB", Aliases: []string{"get"}, Short: "Show a job", Args: exactArgs("JOB")}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			j, err := s.Job(ctx, args[0])
			if causeway.CodeOf(err) == causeway.JobNotFound {
				// It may be an export or import, whose ids are the hub's.
				if x, terr := s.Transfer(ctx, args[0]); terr == nil {
					return out.print(x, func(t *table) { transferTable(t, x) })
				}
			}
			if err != nil {
				return err
			}
			return out.print(j, func(t *table) { jobTable(t, j) })
		})
	}
	return cmd
}

// jobDevice is what a job did to a device.
type jobDevice struct {
	DeviceID string          `json:"deviceId"`
	ModuleID string          `json:"moduleId,omitempty"`
	Status   string          `json:"status"`
	End      client.Time     `json:"endTimeUtc"`
	Outcome  json.RawMessage `json:"outcome,omitempty"`
	Error    *struct {
		Code        string `json:"code"`
		Description string `json:"description"`
	} `json:"error,omitempty"`
}

func newCmdJobDevices(st *state.State, l *login) *cobra.Command {
	var status string
	cmd := &cobra.Command{
		Use: "devices JOB", Short: "Show what a job did to each device", Args: exactArgs("JOB"),
		Long: "Shows the rows of a job in devices.jobs; 'causeway query' asks for them by any condition.",
	}
	out := addOutput(cmd, st)
	cmd.Flags().StringVar(&status, "status", "", "only devices of this `status`: pending, running, completed, failed or canceled")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `\'`) + "'" }
		text := "SELECT * FROM devices.jobs WHERE jobId = " + quote(args[0])
		if status != "" {
			text += " AND status = " + quote(status)
		}
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			if _, err := s.Job(ctx, args[0]); err != nil {
				return err // of a job that does not exist there would be no rows, as of one that did nothing
			}
			list := []jobDevice{}
			for item, err := range s.Query(ctx, text) {
				var d jobDevice
				if err == nil {
					err = json.Unmarshal(item, &d)
				}
				if err != nil {
					return err
				}
				list = append(list, d)
			}
			return out.print(list, func(t *table) {
				t.row("DEVICE", "STATUS", "OUTCOME")
				for _, d := range list {
					outcome := string(d.Outcome)
					if d.Error != nil {
						outcome = d.Error.Code + ": " + d.Error.Description
					}
					t.row(causeway.Identity{Device: d.DeviceID, Module: d.ModuleID}.String(), d.Status, outcome)
				}
			})
		})
	}
	return cmd
}

func newCmdJobCancel(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{
		Use: "cancel JOB", Short: "End a job", Args: exactArgs("JOB"),
		Long: "Ends a job. Devices that are pending are not worked on, calls in flight come to their end.",
	}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			j, err := s.CancelJob(ctx, args[0])
			if causeway.CodeOf(err) == causeway.JobNotFound {
				if s.CancelTransfer(ctx, args[0]) == nil {
					x, err := s.Transfer(ctx, args[0])
					if err != nil {
						return err
					}
					return out.print(x, func(t *table) { transferTable(t, x) })
				}
			}
			if err != nil {
				return err
			}
			return out.print(j, func(t *table) { jobTable(t, j) })
		})
	}
	return cmd
}

func newCmdJobWatch(st *state.State, l *login) *cobra.Command {
	cmd := &cobra.Command{
		Use: "watch JOB", Short: "Watch a job until it ends", Args: exactArgs("JOB"),
		Long: "Writes the progress of a job to standard error until it ends, and the job to standard output.\nThe exit code is 0 when it was completed and no device failed.",
	}
	out := addOutput(cmd, st)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return l.with(cmd.Context(), func(ctx context.Context, s *client.Service) error {
			return watchJob(ctx, st, s, out, args[0])
		})
	}
	return cmd
}

// watchJob tells of the progress of a job until it ends.
func watchJob(ctx context.Context, st *state.State, s *client.Service, out *output, id string) error {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	var last string
	for {
		j, err := s.Job(ctx, id)
		if err != nil {
			return err
		}
		n := j.Statistics
		line := fmt.Sprintf("%s: %s, %d of %d devices done, %d failed", j.ID, j.Status, n.Succeeded+n.Failed, n.Devices, n.Failed)
		if line != last {
			fmt.Fprintln(st.Stderr, line)
			last = line
		}
		if j.Ended() && n.Running == 0 {
			if err := out.print(j, func(t *table) { jobTable(t, j) }); err != nil {
				return err
			}
			if j.Status != "completed" || n.Failed > 0 {
				return fmt.Errorf("job %s is %s, %d of %d devices failed", j.ID, j.Status, n.Failed, n.Devices)
			}
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

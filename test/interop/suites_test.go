//go:build interop

package interop

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/testkit/process"
)

// world is what a suite gets.
type world struct {
	ready process.Ready
	admin *client.Admin
	dir   string   // for the suite's files
	env   []string // for its processes
}

// suite is the SDKs of one language.
type suite struct {
	name string
	run  func(*testing.T, world)
}

// suites, those that take long first. They are run one after the other where they
// share a server: some of them kill it.
var suites = []suite{{"node", nodeSDKs}, {"python", pythonSDKs}, {"java", javaSDKs}, {"go", goSDK}}

func names() []string {
	all := make([]string, len(suites))
	for i, s := range suites {
		all[i] = s.name
	}
	return all
}

// prepared returns the value of a variable that the script sets when it has
// installed what a suite needs, and skips the suite otherwise: the script has
// said why.
func prepared(t *testing.T, variable string) string {
	t.Helper()
	v := os.Getenv(variable)
	if v == "" {
		t.Skip("the SDKs are not installed")
	}
	return v
}

func nodeSDKs(t *testing.T, w world) {
	modules := prepared(t, "INTEROP_NODE")
	// Modules resolve from the folder of the importing file.
	dir := filepath.Join(w.dir, "node")
	if err := os.CopyFS(dir, os.DirFS("node")); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(filepath.Join(dir, "node_modules"))
	if err := os.Symlink(filepath.Join(modules, "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	args := []string{"--test", "--test-concurrency=1", "--test-reporter=spec"}
	if p := os.Getenv("INTEROP_PATTERN"); p != "" {
		args = append(args, "--test-name-pattern="+p)
	}
	// A client that was closed at an odd moment may leave a timer behind, which must
	// not hold everybody up. Node 20.14 and newer can do without.
	if help, err := exec.Command("node", "--help").Output(); err == nil && strings.Contains(string(help), "--test-force-exit") {
		args = append([]string{"--test-force-exit"}, args...)
	}
	run(t, dir, w.env, "node", args...)
}

func pythonSDKs(t *testing.T, w world) {
	venv := prepared(t, "INTEROP_PYTHON")
	env := append(w.env, "PYTHONDONTWRITEBYTECODE=1")
	python := func(t *testing.T, tests ...string) {
		args := append([]string{"-W", "ignore", "-m", "unittest", "-v"}, tests...)
		if p := os.Getenv("INTEROP_PATTERN"); p != "" {
			args = append(args, "-k", p)
		}
		run(t, "python", env, filepath.Join(venv, "bin", "python"), args...)
	}
	// What waits more than it works runs side by side; the devices have the server
	// killed and come last.
	t.Run("back ends", func(t *testing.T) {
		for _, tests := range []string{"SyncEvents", "SyncEventsWebSocket", "SyncEventsUamqp", "AioEvents", "AioEventsWebSocket"} {
			t.Run(tests, func(t *testing.T) {
				t.Parallel()
				python(t, "test_events."+tests)
			})
		}
		t.Run("Registry", func(t *testing.T) {
			t.Parallel()
			python(t, "test_registry", "test_bulk", "test_jobs", "test_transfer", "test_query", "test_configuration", "test_commands", "test_digitaltwin", "test_faults")
		})
		t.Run("files", func(t *testing.T) {
			t.Parallel()
			python(t, "test_files")
		})
		for _, tests := range []string{"SyncProvisioning", "AioProvisioning", "SyncProvisioningWebSocket", "AioProvisioningWebSocket"} {
			t.Run(tests, func(t *testing.T) {
				t.Parallel()
				python(t, "test_provisioning."+tests)
			})
		}
		t.Run("az", func(t *testing.T) {
			t.Parallel()
			python(t, "test_az", "test_az_dps")
		})
	})
	t.Run("devices", func(t *testing.T) { python(t, "test_device") })
}

func javaSDKs(t *testing.T, w world) {
	built := prepared(t, "INTEROP_JAVA")
	// Cases wait more than they work.
	config := []string{
		"parallel.enabled=true", "parallel.mode.default=concurrent", "parallel.mode.classes.default=concurrent",
		"parallel.config.strategy=fixed", "parallel.config.fixed.parallelism=8",
	}
	owner, err := w.admin.ConnectionString(t.Context(), javaHubName, "iothubowner")
	if err != nil {
		t.Fatal(err)
	}
	service, err := w.admin.ConnectionString(t.Context(), javaHubName, "service")
	if err != nil {
		t.Fatal(err)
	}
	env := append(w.env, "HUB_NAME="+javaHubName, "HUB_HOST="+javaHostName, "OWNER_CONNECTION_STRING="+owner, "SERVICE_CONNECTION_STRING="+service)
	// The JVM looks names up in a file of its own, so that nobody needs to resolve
	// names below localhost.
	hosts := filepath.Join(w.dir, "hosts")
	if err := os.WriteFile(hosts, []byte("127.0.0.1 localhost "+javaHostName+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{
		"-Xmx1g", "-Djdk.net.hosts.file=" + hosts, "-cp", filepath.Join(built, "classes") + ":" + filepath.Join(built, "lib", "*"),
		"org.junit.platform.console.ConsoleLauncher", "execute", "--select-package=interop", "--disable-banner",
		"--disable-ansi-colors", "--details=testfeed", "--fail-if-no-tests",
	}
	for _, c := range config {
		args = append(args, "--config=junit.jupiter.execution."+c)
	}
	if p := os.Getenv("INTEROP_PATTERN"); p != "" {
		args = append(args, "--include-methodname="+p)
	}
	run(t, w.dir, env, "java", args...)
}

// run runs a suite and passes its output on line by line.
func run(t *testing.T, dir string, env []string, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, env
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadString('\n')
		if line != "" {
			t.Log(strings.TrimRight(line, "\n"))
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

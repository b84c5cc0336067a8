//! curl from nginx over TLS 1.3, with a certificate made for the occasion. A tree is a tarball, made beforehand and
//! unpacked as it comes.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Pair, Published, Start};
use crate::command::{output_of, timed};
use crate::files;
use crate::host::Host;
use crate::workload::{Package, SINGLE_FILE};

const START_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) struct Starter {
    /// Whether tarballs are compressed.
    pub(crate) compressed: bool,
}

impl Start for Starter {
    fn version(&self) -> Result<String> {
        let curl = output_of(Command::new("curl").arg("--version")).context("the comparison needs curl")?;
        let nginx = Command::new("nginx").arg("-v").output().context("the comparison needs nginx")?;
        let words = |text: &str, count| text.split_whitespace().take(count).collect::<Vec<_>>().join(" ");
        let nginx = String::from_utf8_lossy(&nginx.stderr).replace("nginx version: ", "");
        Ok(format!("{} from {}, TLS 1.3", words(&curl, 2), words(&nginx, 1)))
    }

    fn start(&self, directory: &Path, hosts: &[Host; 2]) -> Result<Box<dyn Pair>> {
        let server = Server::start(directory, &hosts[0])?;
        Ok(Box::new(Web { server, client: hosts[1].clone(), compressed: self.compressed }))
    }
}

/// A running nginx; it ends when this is dropped.
pub(crate) struct Server {
    child: Child,
    /// What it serves.
    pub(crate) root: PathBuf,
    certificate: PathBuf,
    url: String,
}

impl Server {
    pub(crate) fn start(directory: &Path, host: &Host) -> Result<Self> {
        let (root, certificate, key) =
            (directory.join("root"), directory.join("certificate.pem"), directory.join("key.pem"));
        files::make(&root)?;
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
        openssl.args(["-subj", "/CN=versus", "-addext", &format!("subjectAltName=IP:{}", host.address)]);
        output_of(openssl.arg("-out").arg(&certificate).arg("-keyout").arg(&key))?;
        // nginx cannot be told to choose a port, and nobody else takes this one in the moment between.
        let address = SocketAddr::from((host.address, free_port()?));
        let settings = directory.join("nginx.conf");
        fs::write(&settings, configuration(directory, &root, &certificate, &key, address))?;
        let child = host
            .command("nginx")
            .arg("-c")
            .arg(&settings)
            .arg("-e")
            .arg(directory.join("nginx.log"))
            .stdin(Stdio::null())
            .spawn()
            .context("cannot run nginx")?;
        let mut server = Self { child, root, certificate, url: format!("https://{address}") };
        server.wait_until_ready(directory, address, host)?;
        Ok(server)
    }

    /// Waits for its pid file, which it writes once it listens.
    fn wait_until_ready(&mut self, directory: &Path, address: SocketAddr, host: &Host) -> Result<()> {
        let begin = Instant::now();
        let pid = directory.join("nginx.pid");
        while !pid.exists() || (host.address.is_loopback() && TcpStream::connect(address).is_err()) {
            let ended = self.child.try_wait().context("cannot watch nginx")?.is_some();
            if ended || begin.elapsed() > START_TIMEOUT {
                bail!("nginx does not start: {}", fs::read_to_string(directory.join("nginx.log")).unwrap_or_default());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Returns the words of a curl that writes `file` of the server to standard output.
    pub(crate) fn curl(&self, file: &str) -> Vec<String> {
        let certificate = self.certificate.display().to_string();
        let url = format!("{}/{file}", self.url);
        ["curl", "--silent", "--show-error", "--fail", "--tlsv1.3", "--cacert", &certificate, &url]
            .map(str::to_owned)
            .to_vec()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Asked to end, the master process ends its workers first.
        if let Err(error) = output_of(Command::new("kill").arg(self.child.id().to_string())) {
            eprintln!("cannot end nginx: {error:#}");
        }
        if let Err(error) = self.child.wait() {
            eprintln!("cannot await nginx: {error}");
        }
    }
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("there is no port")?;
    Ok(listener.local_addr().context("there is no port")?.port())
}

fn configuration(directory: &Path, root: &Path, certificate: &Path, key: &Path, address: SocketAddr) -> String {
    let (directory, root) = (directory.display(), root.display());
    format!(
        "daemon off;\nworker_processes auto;\nuser root;\npid {directory}/nginx.pid;\n\
         events {{ worker_connections 256; }}\n\
         http {{\n  access_log off;\n  sendfile on;\n  tcp_nopush on;\n\
         \x20 client_body_temp_path {directory}/body;\n  proxy_temp_path {directory}/proxy;\n\
         \x20 fastcgi_temp_path {directory}/fastcgi;\n  uwsgi_temp_path {directory}/uwsgi;\n\
         \x20 scgi_temp_path {directory}/scgi;\n\
         \x20 server {{\n    listen {address} ssl;\n    root {root};\n    ssl_protocols TLSv1.3;\n\
         \x20   ssl_certificate {};\n    ssl_certificate_key {};\n  }}\n}}\n",
        certificate.display(),
        key.display()
    )
}

/// Makes a tarball of a directory's contents, the same for the same contents.
pub(crate) fn tarball(directory: &Path, tar: &Path, compressed: bool) -> Result<()> {
    let mut command = Command::new("tar");
    command.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0"]);
    if compressed {
        command.arg("--use-compress-program=gzip -6 -n");
    }
    command.arg("-cf").arg(tar).arg("-C").arg(directory).arg(".");
    output_of(&mut command).map(drop)
}

struct Web {
    server: Server,
    client: Host,
    compressed: bool,
}

impl Pair for Web {
    fn publish(&mut self, package: &Package) -> Result<Published> {
        let id = match &package.single_file {
            Some(file) => {
                fs::copy(file, self.server.root.join(SINGLE_FILE)).context("cannot copy the file")?;
                SINGLE_FILE.to_owned()
            }
            None => {
                let name = if self.compressed { "package.tar.gz" } else { "package.tar" };
                tarball(&package.path, &self.server.root.join(name), self.compressed)?;
                name.to_owned()
            }
        };
        Ok(Published { id, cid: None, time: None })
    }

    fn fetch(&mut self, id: &str, out: &Path) -> Result<Option<Duration>> {
        files::make(out)?;
        let words = self.server.curl(id);
        let mut command = self.client.command(if id == SINGLE_FILE { "curl" } else { "sh" });
        if id == SINGLE_FILE {
            command.args(&words[1..]).arg("--output").arg(out.join(SINGLE_FILE));
        } else {
            // tar fails on a tarball that ends too early, so that the exit code of curl is not missed.
            let unpack = if self.compressed { "tar -xz" } else { "tar -x" };
            command.args(["-c", &format!("\"$@\" | {unpack} -C '{}'", out.display()), "sh"]).args(&words);
        }
        Ok(Some(timed(&mut command)?.1))
    }

    fn updates_in_place(&self) -> bool {
        true
    }

    fn files_alone(&self) -> bool {
        true
    }
}

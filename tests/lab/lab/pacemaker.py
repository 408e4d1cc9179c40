"""Pacemaker with the seed's own configuration, in itgtd's place: DRBD, portblock, addresses and LIO by resource agents."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree

from lab.errors import LabError, Skip, eventually
from lab.guest import LOGS
from lab.peer import LUN_PATH, prepare_lio
from lab.targets import DATA_NODES, NODES, RESOURCE, VIPS, TargetNode

# Program and the Debian package that has it; what the packages of the lab itself do not bring.
NEEDED = {"pacemakerd": "pacemaker", "cibadmin": "pacemaker-cli-utils", "crm": "crmsh", "targetcli": "targetcli-fb", "iptables": "iptables",
          "dbus-daemon": "dbus"}
AGENTS = pathlib.Path("/usr/lib/ocf/resource.d")
LAST_TO_START = "p_iscsi_portblock_off_0"
# Emulated machines are ten to twenty times slower than those that the seed's 20 s are meant for. What ends earlier takes no longer.
OPERATION_SECONDS_MAX = 600
# The seed's, to the letter, except what mended() and LAB do.
SEED = """primitive p_drbd_r0 ocf:linbit:drbd \\
    params drbd_resource=r0 \\
    op start interval=0s timeout=240 \\
    op promote interval=0s timeout=90 \\
    op demote interval=0s timeout=90 \\
    op stop interval=0s timeout=100 \\
    op monitor interval=29 role=Master \\
    op monitor interval=31 role=Slave
primitive p_iscsi_lun_0 iSCSILogicalUnit \\
    params target_iqn="iqn.2017-01.com.linbit:drbd0" implementation=lio-t \\
    scsi_sn=aaaaaaa0 lio_iblock=0 lun=0 path="/dev/drbd0" \\
    op start interval=0 timeout=20 \\
    op stop interval=0 timeout=20 \\
    op monitor interval=20 timeout=40
primitive p_iscsi_portblock_off_0 portblock \\
    params portno=3260 protocol=tcp action=unblock \\
    op start timeout=20 interval=0 \\
    op stop timeout=20 interval=0 \\
    op monitor timeout=20 interval=20
primitive p_iscsi_portblock_on_0 portblock \\
    params portno=3260 protocol=tcp action=block \\
    op start timeout=20 interval=0 \\
    op stop timeout=20 interval=0 \\
    op monitor timeout=20 interval=20
primitive p_iscsi_target_0 iSCSITarget \\
    params iqn="iqn.2017-01.com.linbit:drbd0" implementation=lio-t \\
    portals="192.168.222.35:3260 192.168.221.35:3260" \\
    op start interval=0 timeout=20 \\
    op stop interval=0 timeout=20 \\
    op monitor interval=20 timeout=40
primitive p_vip_0a IPaddr2 \\
    params ip=192.168.222.35 cidr_netmask=24 \\
    op start interval=0 timeout=20 \\
    op stop interval=0 timeout=20 \\
    op monitor interval=10s
primitive p_vip_0b IPaddr2 \\
    params ip=192.168.221.35 cidr_netmask=24 \\
    op start interval=0 timeout=20 \\
    op stop interval=0 timeout=20 \\
    op monitor interval=10s
ms ms_drbd_r0 p_drbd_r0 \\
    meta master-max=1 master-node-max=1 notify=true clone-max=3 clone-node-max=1
colocation cl_p_iscsi_lun_0-with_p_iscsi_target_0 inf: p_iscsi_lun_0 p_iscsi_target_0
colocation cl_p_iscsi_portblock_off_0-with-p_iscsi_lun_0 inf: p_iscsi_portblock_off_0 p_iscsi_lun_0
colocation cl_p_iscsi_portblock_on_0-with-ms_drbd_r0 inf: p_iscsi_portblock_on_0 ms_drbd_r0:Master
colocation cl_p_iscsi_target_0-with-p_vip_0a inf: p_iscsi_target_0 [ p_vip_0a p_vip_0b ]
colocation cl_p_vips-with-p_iscsi_portblock_on_0 inf: [ p_vip_0a p_vip_0b ] p_iscsi_portblock_on_0
order o_ms_drbd_r0-before_p_iscsi_portblock_on_0 ms_drbd_r0:promote p_iscsi_portblock_on_0
order o_p_iscsi_lun_0-before_p_iscsi_portblock_off_0 p_iscsi_lun_0 p_iscsi_portblock_off_0
order o_p_iscsi_portblock_on_0-before_p_vip_0a p_iscsi_portblock_on_0 [ p_vip_0a p_vip_0b ]
order o_p_iscsi_target_0-before_p_iscsi_lun_0 p_iscsi_target_0 p_iscsi_lun_0
order o_p_vips-before-p_iscsi_target_0 [ p_vip_0a p_vip_0b ] p_iscsi_target_0
"""
# DRBD 8.4 has two nodes; the third one has no data, as with itgtd.
LAB = f"""property stonith-enabled=false
location l_no_data ms_drbd_r0 resource-discovery=never -inf: {next(name for name in NODES if name not in DATA_NODES)}
op_defaults timeout={OPERATION_SECONDS_MAX}
"""
_EMPTY_CIB = '<cib crm_feature_set="3.15.0" validate-with="pacemaker-3.9" epoch="1" num_updates="0" admin_epoch="0"><configuration><crm_config/>' \
    "<nodes>{nodes}</nodes><resources/><constraints/></configuration><status/></cib>\n"


def require() -> None:
    """Skips when this machine lacks any of it."""
    lacking = {package for program, package in NEEDED.items() if shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None}
    lacking |= {package for agent, package in (("heartbeat/IPaddr2", "resource-agents"), ("linbit/drbd", "drbd-utils")) if not (AGENTS / agent).exists()}
    if lacking:
        raise Skip(f"not installed: {' '.join(sorted(lacking))}")


def mended(text: str) -> str:
    """To the letter, the order of promotion and the LUN is one of promotions alone: the LUN starts before DRBD is primary, and fails."""
    text = text.replace("ms_drbd_r0:promote p_iscsi_portblock_on_0\n", "ms_drbd_r0:promote p_iscsi_portblock_on_0:start\n")
    for seconds in (" timeout=20 ", " timeout=40 "):
        text = text.replace(seconds, f" timeout={OPERATION_SECONDS_MAX} ").replace(f"{seconds.rstrip()}\n", f" timeout={OPERATION_SECONDS_MAX}\n")
    return text


def cib() -> dict[str, str]:
    """XML of each section, made by crmsh on this machine: in a guest it would take a minute."""
    with tempfile.TemporaryDirectory(prefix="itgt-lab-cib.") as name:
        folder = pathlib.Path(name)
        nodes = "".join(f'<node id="{number}" uname="{node}"/>' for number, node in enumerate(NODES, 1))
        (folder / "cib.xml").write_text(_EMPTY_CIB.format(nodes=nodes))
        (folder / "seed.crm").write_text(mended(SEED) + LAB)
        (folder / "commands").write_text(f"configure\nload update {folder}/seed.crm\nshow xml\n")
        # It ends with an error, since it would commit to a cluster that is not there.
        out = subprocess.run(["crm", "-F", "-f", str(folder / "commands")], env={**os.environ, "CIB_file": str(folder / "cib.xml"), "HOME": name},
                             capture_output=True, text=True, timeout=60, check=False)
    start, end = out.stdout.find("<cib"), out.stdout.find("</cib>")
    if start < 0 or end < 0 or LAST_TO_START not in out.stdout:
        raise LabError(f"crm configure: {out.stdout[-1000:]}{out.stderr[-2000:]}")
    configuration = xml.etree.ElementTree.fromstring(out.stdout[start : end + len("</cib>")]).find("configuration")
    return {part.tag: xml.etree.ElementTree.tostring(part, encoding="unicode") for part in configuration if part.tag != "nodes"}


def _agent_that_knows_iptables() -> str:
    """portblock looks for "DROP tcp" in what iptables lists; 1.8.9 lists "DROP 6", so it would never find its own rule, nor take it away."""
    text = (AGENTS / "heartbeat/portblock").read_text()
    found = 'echo "^DROP${w}${1}${w}--'
    if found not in text:
        raise LabError("portblock is not the one that the lab knows how to mend")
    return text.replace(found, 'echo "^DROP${w}\\\\(${1}\\\\|6\\\\)${w}--')


class Pacemaker:
    """On all nodes, with corosync running and itgtd stopped."""

    def __init__(self, nodes: list[TargetNode]):
        self.nodes = nodes

    def start(self) -> None:
        agent = _agent_that_knows_iptables()
        for node in self.nodes:
            prepare_lio(node)
            node.run("mkdir -p /run/crm /run/resource-agents /run/dbus /etc/target /var/log/pacemaker /var/lib/pacemaker/cib"
                     " && chown hacluster:haclient /var/log/pacemaker && chmod 1755 /run/resource-agents")
            node.write(str(AGENTS / "heartbeat/portblock"), agent, 0o755)
            if node.has_data:
                node.run(["drbdadm", "down", RESOURCE])
            node.start(["dbus-daemon", "--system", "--nofork", "--nopidfile"], log="dbus")
            node.start(["env", f"PCMK_logfile={LOGS}/pacemaker.log", "PCMK_logfacility=none", "pacemakerd", "-f"], log="pacemakerd")
        eventually(lambda: len(self.online()) == len(self.nodes), 900, "all nodes are online in Pacemaker", 5)
        for section, text in cib().items():
            self.nodes[0].run(["cibadmin", "--replace", "--scope", section, "--xml-pipe"], stdin=text.encode(), seconds=300)

    def _monitor(self) -> xml.etree.ElementTree.Element:
        """As the last node that is on has it: the one without data, whose CPU does the least."""
        asked = next(node for node in reversed(self.nodes) if node.powered())
        return xml.etree.ElementTree.fromstring(asked.output(["crm_mon", "-1", "--output-as=xml"], seconds=60))

    def online(self) -> list[str]:
        try:
            return [node.get("name", "") for node in self._monitor().iter("node") if node.get("online") == "true"]
        except xml.etree.ElementTree.ParseError as error:
            raise LabError(f"crm_mon: {error}") from None

    def wait_served(self, on: TargetNode | None = None, seconds: float = 900.0) -> TargetNode:
        """Until a node has both addresses and a target that listens; crm_mon would take the CPU that the agents need."""
        def owner() -> TargetNode | None:
            for node in self.nodes:
                if node.powered() and (on in (None, node)) and node.has_data and set(VIPS.values()) <= node.addresses():
                    return node if node.run(["test", "-e", LUN_PATH], check=False).status == 0 else None
            return None

        return eventually(owner, seconds, f"Pacemaker serves the group{f' on {on.name}' if on else ''}", 1)

    def move(self, to: TargetNode) -> None:
        """A planned move, as an administrator asks for it; wait_served() waits."""
        self.nodes[-1].run(["crm_resource", "--move", "--resource", "ms_drbd_r0", "--promoted", "--node", to.name], seconds=120)

    def failures(self) -> list[str]:
        """Operations that did not end well."""
        return [f"{found.get('op_key')} on {found.get('node')}: {found.get('exitstatus')}, {found.get('exitreason')}"
                for found in self._monitor().iter("failure")]

"""The modules of the embedded corpus: those with documentation that Python 3.11 to 3.14 all have."""

__all__ = ["MODULES"]

_NAMES = """
__future__ _aix_support _collections_abc _markupbase _osx_support _py_abc _pydecimal _pyio _sitebuiltins _strptime
_threading_local abc argparse ast asyncio asyncio.base_events asyncio.base_futures asyncio.base_subprocess
asyncio.coroutines asyncio.events asyncio.exceptions asyncio.format_helpers asyncio.futures asyncio.locks
asyncio.log asyncio.mixins asyncio.proactor_events asyncio.protocols asyncio.queues asyncio.runners
asyncio.selector_events asyncio.sslproto asyncio.staggered asyncio.streams asyncio.subprocess asyncio.taskgroups
asyncio.tasks asyncio.threads asyncio.timeouts asyncio.transports asyncio.trsock asyncio.unix_events
asyncio.windows_events asyncio.windows_utils base64 bdb bisect bz2 cProfile calendar cmd code codecs codeop
collections colorsys compileall concurrent.futures concurrent.futures._base concurrent.futures.process
concurrent.futures.thread configparser contextlib copy copyreg csv ctypes ctypes._aix ctypes._endian ctypes.macholib
ctypes.macholib.dyld ctypes.macholib.dylib ctypes.macholib.framework curses curses.ascii curses.panel curses.textpad
dataclasses datetime dbm dbm.dumb dbm.gnu dbm.ndbm difflib dis doctest email email._encoded_words
email._header_value_parser email._parseaddr email._policybase email.base64mime email.charset email.encoders
email.errors email.feedparser email.generator email.header email.headerregistry email.iterators email.message
email.mime.application email.mime.audio email.mime.base email.mime.image email.mime.message email.mime.multipart
email.mime.nonmultipart email.mime.text email.parser email.policy email.quoprimime email.utils encodings
encodings.aliases encodings.ascii encodings.base64_codec encodings.bz2_codec encodings.charmap encodings.cp037
encodings.cp1006 encodings.cp1026 encodings.cp1125 encodings.cp1140 encodings.cp1250 encodings.cp1251
encodings.cp1252 encodings.cp1253 encodings.cp1254 encodings.cp1255 encodings.cp1256 encodings.cp1257
encodings.cp1258 encodings.cp273 encodings.cp424 encodings.cp437 encodings.cp500 encodings.cp720 encodings.cp737
encodings.cp775 encodings.cp850 encodings.cp852 encodings.cp855 encodings.cp856 encodings.cp857 encodings.cp858
encodings.cp860 encodings.cp861 encodings.cp862 encodings.cp863 encodings.cp864 encodings.cp865 encodings.cp866
encodings.cp869 encodings.cp874 encodings.cp875 encodings.hex_codec encodings.hp_roman8 encodings.iso8859_1
encodings.iso8859_10 encodings.iso8859_11 encodings.iso8859_13 encodings.iso8859_14 encodings.iso8859_15
encodings.iso8859_16 encodings.iso8859_2 encodings.iso8859_3 encodings.iso8859_4 encodings.iso8859_5
encodings.iso8859_6 encodings.iso8859_7 encodings.iso8859_8 encodings.iso8859_9 encodings.koi8_r encodings.koi8_t
encodings.koi8_u encodings.kz1048 encodings.latin_1 encodings.mac_arabic encodings.mac_croatian
encodings.mac_cyrillic encodings.mac_farsi encodings.mac_greek encodings.mac_iceland encodings.mac_latin2
encodings.mac_roman encodings.mac_romanian encodings.mac_turkish encodings.mbcs encodings.oem encodings.palmos
encodings.ptcp154 encodings.punycode encodings.quopri_codec encodings.raw_unicode_escape encodings.rot_13
encodings.tis_620 encodings.undefined encodings.unicode_escape encodings.utf_16 encodings.utf_16_be
encodings.utf_16_le encodings.utf_32 encodings.utf_32_be encodings.utf_32_le encodings.utf_7 encodings.utf_8
encodings.utf_8_sig encodings.uu_codec encodings.zlib_codec ensurepip ensurepip._uninstall enum filecmp fileinput
fnmatch fractions ftplib functools genericpath getopt getpass gettext glob graphlib gzip hashlib heapq hmac html
html.entities html.parser http http.client http.cookiejar http.cookies http.server idlelib idlelib.__main__
idlelib.autocomplete idlelib.autocomplete_w idlelib.autoexpand idlelib.browser idlelib.calltip idlelib.calltip_w
idlelib.codecontext idlelib.colorizer idlelib.config idlelib.config_key idlelib.configdialog idlelib.debugger
idlelib.debugger_r idlelib.delegator idlelib.dynoption idlelib.editor idlelib.filelist idlelib.format idlelib.grep
idlelib.help idlelib.help_about idlelib.history idlelib.hyperparser idlelib.iomenu idlelib.macosx idlelib.mainmenu
idlelib.multicall idlelib.outwin idlelib.parenmatch idlelib.pathbrowser idlelib.pyparse idlelib.pyshell
idlelib.query idlelib.redirector idlelib.replace idlelib.rpc idlelib.run idlelib.runscript idlelib.search
idlelib.searchbase idlelib.searchengine idlelib.sidebar idlelib.squeezer idlelib.textview idlelib.tooltip
idlelib.tree idlelib.util idlelib.zoomheight idlelib.zzdummy imaplib importlib importlib._abc importlib._bootstrap
importlib._bootstrap_external importlib.abc importlib.machinery importlib.metadata importlib.metadata._adapters
importlib.metadata._collections importlib.metadata._functools importlib.metadata._itertools importlib.metadata._meta
importlib.metadata._text importlib.readers importlib.resources importlib.resources._adapters
importlib.resources._common importlib.resources._itertools importlib.resources.abc importlib.resources.readers
importlib.resources.simple importlib.simple importlib.util inspect io ipaddress json json.decoder json.encoder
json.scanner json.tool keyword linecache locale logging logging.config logging.handlers lzma mailbox mimetypes
modulefinder multiprocessing.connection multiprocessing.context multiprocessing.forkserver multiprocessing.managers
multiprocessing.pool multiprocessing.popen_spawn_win32 multiprocessing.process multiprocessing.queues
multiprocessing.reduction multiprocessing.resource_sharer multiprocessing.resource_tracker
multiprocessing.shared_memory multiprocessing.sharedctypes multiprocessing.spawn multiprocessing.util netrc ntpath
nturl2path numbers opcode operator optparse os pathlib pdb pickle pickletools pkgutil platform plistlib poplib
posixpath pprint profile pstats pty py_compile pyclbr pydoc queue quopri random re re._compiler re._constants
re._parser reprlib rlcompleter runpy sched secrets selectors shelve shlex shutil signal site smtplib socket
socketserver sqlite3 sqlite3.dump ssl stat statistics string stringprep subprocess symtable sysconfig tabnanny
tarfile tempfile textwrap threading timeit tkinter tkinter.__main__ tkinter.colorchooser tkinter.dnd
tkinter.filedialog tkinter.font tkinter.messagebox tkinter.scrolledtext tkinter.simpledialog tkinter.ttk token
tokenize tomllib._parser tomllib._re trace traceback tracemalloc tty turtle turtledemo turtledemo.__main__
turtledemo.bytedesign turtledemo.clock turtledemo.forest turtledemo.fractalcurves turtledemo.lindenmayer
turtledemo.minimal_hanoi turtledemo.nim turtledemo.paint turtledemo.peace turtledemo.penrose
turtledemo.planet_and_moon turtledemo.rosette turtledemo.round_dance turtledemo.sorting_animate turtledemo.tree
turtledemo.two_canvases turtledemo.yinyang types typing unittest unittest.__main__ unittest._log unittest.async_case
unittest.case unittest.loader unittest.main unittest.mock unittest.result unittest.runner unittest.suite
unittest.util urllib.error urllib.parse urllib.request urllib.response urllib.robotparser uuid venv warnings wave
weakref webbrowser wsgiref wsgiref.handlers wsgiref.headers wsgiref.simple_server wsgiref.types wsgiref.util
wsgiref.validate xml xml.dom xml.dom.NodeFilter xml.dom.domreg xml.dom.expatbuilder xml.dom.minicompat
xml.dom.minidom xml.dom.pulldom xml.dom.xmlbuilder xml.etree.ElementTree xml.parsers xml.parsers.expat xml.sax
xml.sax._exceptions xml.sax.expatreader xml.sax.handler xml.sax.saxutils xml.sax.xmlreader xmlrpc.client
xmlrpc.server zipapp zipfile zipimport zoneinfo._common zoneinfo._tzpath zoneinfo._zoneinfo
"""

MODULES = _NAMES.split()
